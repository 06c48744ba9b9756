"""The form of answers below `/v2`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from ...errors import Unauthorized
from .errors import ApiError, as_api_error, error_body
from .formats import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...errors import ServiceError
    from ..backend import Backend

HARMLESS = {"Content-Security-Policy": "sandbox", "X-Content-Type-Options": "nosniff"}
"""Headers of content that a task made: a browser shows it, but runs nothing of it in this origin."""


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON without the envelope."""
    return web.Response(
        body=to_json(value),
        status=status,
        headers={"Content-Type": "application/json; charset=utf-8", **(headers or {})},
    )


def data_response(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """JSON in the platform's envelope, `{"data": …}`."""
    return json_response({"data": data}, status, headers)


def refusal(error: ApiError) -> web.Response:
    """An error in the platform's form."""
    return json_response(error_body(error.type, str(error)), error.status, error.headers)


def error_answer(request: web.Request, error: ServiceError) -> web.Response:
    """Any of the service's own errors in the platform's form."""
    if isinstance(error, Unauthorized) and _has_token(request):
        return refusal(
            ApiError(error.status, "user-or-token-not-found", "The token is wrong.", error.headers)
        )
    return refusal(as_api_error(error))


def _has_token(request: web.Request) -> bool:
    return not {"Authorization", "X-Api-Key"}.isdisjoint(request.headers) or "token" in request.query


def link(backend: Backend, *path: str) -> str:
    """The absolute URL of a path below `/v2`; clients refuse a relative one."""
    environment = backend.environment
    base = environment.container_url or f"http://localhost:{environment.port}"
    return "/".join((base, "v2", *path))
