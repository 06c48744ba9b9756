"""References in a preset's task: `"{{body.repository.name}}"` becomes that part of the request.

Only a whole string value is a reference. There are no expressions: text around the braces, or anything but a path
between them, leaves the value as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

ROOTS = ("body", "headers", "query", "contentType")
"""What a reference may start with; `headers` are found in any case."""

_REFERENCE = re.compile(rf"\{{\{{\s*((?:{'|'.join(ROOTS)})(?:\.[^.\s{{}}]+)*)\s*\}}\}}")

Path = tuple[str | int, ...]
"""Where a value stands within a task."""


def braces(value: Any, path: Path = ()) -> Iterator[tuple[Path, bool]]:
    """Every string with double braces within a task: where it stands, and whether it is a reference."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from braces(member, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from braces(item, (*path, index))
    elif isinstance(value, str) and "{{" in value:
        yield path, _names(value) is not None


def references(value: Any) -> Iterator[list[str]]:
    """Every reference within a task, as the names of its path."""
    if isinstance(value, Mapping):
        for member in value.values():
            yield from references(member)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)
    elif (names := _names(value)) is not None:
        yield names


def resolve(value: Any, request: Mapping[str, Any]) -> Any:
    """The value with its references replaced; what the request does not have becomes null.

    Args:
        value: A preset's task or a part of it; it is not changed.
        request: The parts by the names of ROOTS; the names of headers in lower case.
    """
    if isinstance(value, dict):
        return {name: resolve(member, request) for name, member in value.items()}
    if isinstance(value, list):
        return [resolve(item, request) for item in value]
    names = _names(value)
    return value if names is None else _look_up(request, names)


def _names(value: Any) -> list[str] | None:
    """The path of a reference, name by name; None for any other value."""
    match = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
    return match[1].split(".") if match else None


def _look_up(request: Mapping[str, Any], names: list[str]) -> Any:
    if names[0] == "headers":
        names = [name.lower() for name in names]
    found: Any = request
    for name in names:
        found = _member(found, name)
    return found


def _member(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name)
    if isinstance(value, list) and name.isdecimal() and name.isascii():
        index = int(name) if len(name) < 10 else len(value)
        return value[index] if index < len(value) else None
    return None
