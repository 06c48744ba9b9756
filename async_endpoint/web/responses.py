"""Writes answers: JSON, and problem documents (RFC 9457) for everything that went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic_core import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..errors import ServiceError

_JSON = "application/json"
_PROBLEM = "application/problem+json"


def json_text(text: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer whose body is JSON text already."""
    return web.Response(body=text, status=status, headers={"Content-Type": _JSON, **(headers or {})})


def json_value(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """An answer with this value as JSON."""
    return json_text(to_json(value), status, headers)


def problem(error: ServiceError) -> web.Response:
    """The answer that tells a client what went wrong; `error` repeats `detail` for plain clients."""
    document = {
        "type": f"about:blank#{error.code}",
        "title": error.title,
        "status": error.status,
        "detail": error.detail,
        "code": error.code,
        "error": error.detail,
        **error.members(),
    }
    text = to_json(document)
    return web.Response(body=text, status=error.status, headers={"Content-Type": _PROBLEM, **error.headers})
