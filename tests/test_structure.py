"""Imports point inward: the core knows nobody, and only the wiring knows everybody."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "async_endpoint"

LEAVES = {"__version__", "errors", "logs", "masking"}
"""Modules for everybody: they import nothing of the package."""

ARROWS = {
    "jobs": set[str](),
    # Receivers of webhooks name jobs' transitions.
    "outbound": {"jobs"},
    # `fetch` goes out through the guarded session, and a task's receivers are checked before it is accepted.
    "handlers": {"jobs", "outbound", "settings"},
    "actor": {"jobs", "settings", "environment"},
    # Shows task types in OpenAPI, and the ledger of webhooks; checks signatures of hooks as they are made.
    "web": {"jobs", "handlers", "outbound", "settings", "environment"},
    "environment": set[str](),
    # What a setting may be is said where it is used.
    "fields": {"jobs", "outbound"},
    "settings": {"fields"},
}
"""Who may import whom, beside the leaves. `service`, `docs` and `__main__` stand above and are imported by nobody."""


def imports(path: Path) -> set[str]:
    """The packages and modules at the top of the package that a file imports."""
    parents = path.relative_to(PACKAGE).parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*parents[: len(parents) + 1 - node.level], *(node.module or "").split(".")]
            names = ["".join(base[:1])] if any(base) else [alias.name for alias in node.names]
            found.update(names)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            found.update(f"absolute {name}" for name in names if name.startswith("async_endpoint"))
    return found - {""}


@pytest.mark.parametrize("name", ARROWS)
def test_imports_point_inward(name: str) -> None:
    folder = PACKAGE / name
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert files
    wrong = {
        f"{file.relative_to(PACKAGE)} imports {module}"
        for file in files
        for module in imports(file) - ARROWS[name] - LEAVES - {name}
    }
    assert not wrong


def test_leaves_import_nothing_of_the_package() -> None:
    assert {leaf: imports(PACKAGE / f"{leaf}.py") for leaf in LEAVES - {"__version__"}} == {
        leaf: set() for leaf in LEAVES - {"__version__"}
    }


def test_every_module_has_its_place() -> None:
    there = {
        path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert there == {*ARROWS, *LEAVES, "__init__", "__main__", "docs", "service"} - {"__version__"}
