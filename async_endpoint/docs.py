"""Writes what is generated from the code: `python -m async_endpoint.docs` in the repository's root.

The Actor's input schema, dataset schema and web server schema (OpenAPI), and the tables in the README, each
between two comments `<!-- generated:NAME -->` and `<!-- /generated:NAME -->`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .actor.dataset_schema import dataset_schema
from .environment import VARIABLES
from .errors import ServiceError
from .fields import Section
from .handlers.catalog import load_catalog
from .settings import PROPERTIES, Settings, allowed, non_null
from .web.api import ROUTES
from .web.openapi import document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

SECTION_DESCRIPTIONS = {
    Section.ACCESS: "Who may use the endpoint.",
    Section.JOBS: "How many jobs run and wait, how long and how large they may be.",
    Section.WAITING: "How long one request may wait for a job's end.",
    Section.KEEPING: "How safe jobs are, and how long ended ones can be read.",
    Section.FETCH: "HTTP requests that jobs make from here.",
    Section.WEBHOOKS: "Who is told about jobs, and tasks that can be started by name.",
}
EDITORS = {
    "string": "textfield",
    "boolean": "checkbox",
    "integer": "number",
    "object": "json",
    "array": "json",
}


def input_schema() -> dict[str, Any]:
    """The Actor's input schema (version 1 of the platform's specification), a field for each setting."""
    sections: set[str] = set()
    properties = {}
    for name, schema in PROPERTIES.items():
        first = schema["section"] not in sections
        sections.add(schema["section"])
        properties[name] = _input_field(schema, first_of_section=first)
    return {
        "title": "Async endpoint",
        "description": "All settings are optional. Set an access token unless the URL is known to you alone.",
        "type": "object",
        "schemaVersion": 1,
        "properties": properties,
        "required": [],
    }


def _input_field(schema: Mapping[str, Any], *, first_of_section: bool) -> dict[str, Any]:
    flat = non_null(schema)
    field = {
        "title": flat["title"],
        "type": flat["type"],
        "description": flat["description"],
        "editor": flat.get("editor") or ("select" if "enum" in flat else EDITORS[flat["type"]]),
    }
    if first_of_section:
        section = Section(flat["section"])
        field |= {"sectionCaption": section.value, "sectionDescription": SECTION_DESCRIPTIONS[section]}
    field |= {key: flat[key] for key in ("minimum", "maximum", "unit", "maxItems", "enum") if key in flat}
    if flat["type"] == "array":
        field["items"] = {"type": flat["items"].get("type", "object")}
    return field | _default(schema, secret=flat["secret"])


def _default(schema: Mapping[str, Any], *, secret: bool) -> dict[str, Any]:
    if secret:
        return {"isSecret": True}
    return {"nullable": True} if "anyOf" in schema else {"default": schema["default"]}


def web_server_schema() -> dict[str, Any]:
    """The OpenAPI document of the native API, as the service itself answers it."""
    return document(ROUTES, load_catalog((), Settings()).types)


def settings_table() -> str:
    """The settings as a Markdown table."""
    return _table(
        ("Setting", "Default", "Takes", "Meaning"),
        (
            (f"`{name}`", _shown(schema), allowed(name) + _secret(schema), schema["description"])
            for name, schema in PROPERTIES.items()
        ),
    )


def _shown(schema: Mapping[str, Any]) -> str:
    default = schema["default"]
    return "none" if default in (None, [], {}) else f"`{json.dumps(default)}`"


def _secret(schema: Mapping[str, Any]) -> str:
    return " (secret)" if schema["secret"] else ""


def environment_table() -> str:
    """The environment variables as a Markdown table."""
    return _table(
        ("Variable", "Old name", "Default", "Takes", "Meaning"),
        (
            (f"`{names[0]}`", ", ".join(f"`{name}`" for name in names[1:]), default, allowed, description)
            for names, description, default, allowed, _ in VARIABLES.values()
        ),
    )


def routes_table() -> str:
    """The routes of the native API as a Markdown table."""
    return _table(
        ("Route", "What it does"), ((f"`{route.method} {route.path}`", route.summary) for route in ROUTES)
    )


def errors_table() -> str:
    """The error codes of the native API as a Markdown table."""
    codes: dict[str, type[ServiceError]] = {}
    for error in _tree(ServiceError):
        codes.setdefault(error.code, error)
    return _table(
        ("Status", "`code`", "Meaning"),
        (
            (str(error.status), f"`{code}`", " ".join((error.__doc__ or "").split()))
            for code, error in sorted(codes.items(), key=lambda item: item[1].status)
        ),
    )


def _tree(error: type[ServiceError]) -> Iterator[type[ServiceError]]:
    yield error
    for child in error.__subclasses__():
        yield from _tree(child)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "&#124;").replace("<", "&lt;")


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings_table,
    "environment": environment_table,
    "routes": routes_table,
    "errors": errors_table,
}


def fill_in(text: str) -> str:
    """The text with each generated part made anew.

    Raises:
        KeyError: For a marker that names no table.
    """
    pattern = r"(<!-- generated:(\w+) -->).*?(<!-- /generated:\2 -->)"
    return re.sub(pattern, lambda m: f"{m[1]}\n\n{TABLES[m[2]]()}\n\n{m[3]}", text, flags=re.DOTALL)


def generated(root: Path) -> dict[Path, str]:
    """What each generated file should hold, by its path."""
    readme = root / "README.md"
    return {
        root / ".actor" / "input_schema.json": _json(input_schema()),
        root / ".actor" / "dataset_schema.json": _json(dataset_schema()),
        root / ".actor" / "openapi.json": _json(web_server_schema()),
        readme: fill_in(readme.read_text(encoding="utf-8")),
    }


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for path, text in generated(Path()).items():
        path.write_text(text, encoding="utf-8")
