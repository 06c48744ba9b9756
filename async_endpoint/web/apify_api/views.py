"""Views of a dataset: saved parameters of "Get dataset items" under a name.

A view's transformation, as the platform's dataset schema has it, uses the names and meanings of the query's
parameters. What a query itself says goes before its view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping


def with_view(query: Mapping[str, str], views: Mapping[str, Mapping[str, Any]]) -> Mapping[str, str]:
    """The query's parameters, and those of the view that it names where it has none of its own.

    Raises:
        ApiError: 400 `requested-dataset-view-does-not-exist`.
    """
    name = query.get("view")
    if not name:
        return query
    if name not in views:
        there = f"it has: {', '.join(views)}" if views else "it has none"
        raise ApiError(
            400, "requested-dataset-view-does-not-exist", f"This dataset has no view {name[:50]!r}; {there}."
        )
    saved = {parameter: _as_text(value) for parameter, value in views[name].items()}
    return saved | {parameter: query[parameter] for parameter in query if query[parameter]}


def _as_text(value: Any) -> str:
    """A value of a transformation as a query says it: names, a boolean or a number."""
    return ",".join(value) if isinstance(value, list) else str(value).lower()
