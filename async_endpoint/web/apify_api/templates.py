"""Webhook templates as the platform documents them: JSON with `{{variables}}`, rendered to JSON.

Outside of strings a variable stands for its value as JSON, with a dotted path for a part of it:
`{"runId": {{resource.id}}}`. With string interpolation variables inside strings count too: a string that is
nothing but a variable becomes the value itself, in any other string the variable is replaced by its text.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLES = frozenset({"userId", "createdAt", "eventType", "eventData", "resource", "globals"})

DEFAULT_PAYLOAD_TEMPLATE = """{
    "userId": {{userId}},
    "createdAt": {{createdAt}},
    "eventType": {{eventType}},
    "eventData": {{eventData}},
    "resource": {{resource}}
}"""

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_$.-]+)\s*\}\}")
_TOKEN = re.compile(r'(?P<string>"(?:[^"\\]|\\.)*")(?P<colon>\s*:)?|' + _VARIABLE.pattern, re.DOTALL)


class TemplateError(ValueError):
    """A template that names an unknown variable or does not render to JSON."""


def render(template: str, variables: Mapping[str, Any], *, interpolate_strings: bool = False) -> Any:
    """The JSON value that a template makes of the variables; a missing part of a variable is null.

    Raises:
        TemplateError: An unknown variable, or the outcome is not JSON.
    """

    def replace(match: re.Match[str]) -> str:
        string = match["string"]
        if string is None:
            return _as_json(_look_up(match[3], variables))
        if not interpolate_strings:
            return match[0]
        return _interpolate(string, variables, is_name=match["colon"] is not None) + (match["colon"] or "")

    try:
        return json.loads(_TOKEN.sub(replace, template))
    except ValueError as error:
        raise TemplateError(f"the template does not render to JSON: {error}") from error


def _interpolate(token: str, variables: Mapping[str, Any], *, is_name: bool) -> str:
    text = json.loads(token)
    whole = _VARIABLE.fullmatch(text)
    if whole and not is_name:
        return _as_json(_look_up(whole[1], variables))
    return _as_json(_VARIABLE.sub(lambda match: as_text(_look_up(match[1], variables)), text))


def _look_up(path: str, variables: Mapping[str, Any]) -> Any:
    name, *parts = path.split(".")
    if name not in variables:
        raise TemplateError(f"unknown variable {{{{{path}}}}}; there are {', '.join(sorted(VARIABLES))}")
    value = variables[name]
    for part in parts:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _as_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def as_text(value: Any) -> str:
    """A value within a text: a string as it is, any other as JSON."""
    return value if isinstance(value, str) else _as_json(value)
