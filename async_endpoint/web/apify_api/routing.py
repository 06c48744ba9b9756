"""Which handler answers a request below `/v2`, and the refusals for all others."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from .errors import ApiError
from .published import PUBLISHED, PublishedPath

if TYPE_CHECKING:
    from aiohttp.web import Request, StreamResponse

RouteHandler = Callable[..., Awaitable["StreamResponse"]]
"""Called with the view, the request, and what stands for each `*` of the path."""

OVERRIDABLE = frozenset({"GET", "POST", "PUT", "DELETE"})


class Router:
    """The served part of the published paths.

    Args:
        routes: The handlers by method of each served path, written as in `published`.
    """

    def __init__(self, routes: Mapping[str, Mapping[str, RouteHandler]]) -> None:
        unknown = routes.keys() - {"/".join(path.segments) for path in PUBLISHED}
        if unknown:
            raise ValueError(f"not published: {sorted(unknown)}")
        self._routes = routes

    def resolve(self, method: str, raw_path: str) -> tuple[RouteHandler, tuple[str, ...]]:
        """The handler for a percent-encoded path below `/v2/`, and the path's variable segments, decoded.

        Raises:
            ApiError: 404 for an unknown path, 405 for an unknown method, 501 for what is not served here.
        """
        path, names = _find(tuple(unquote(segment) for segment in raw_path.split("/")))
        served = self._routes.get("/".join(path.segments), {})
        handler = served.get("GET" if method == "HEAD" else method)
        if handler is not None and method in path.methods:
            return handler, names
        if method in path.methods:
            raise ApiError(501, "not-implemented", "This part of the Apify API is not served here.")
        methods = ", ".join(sorted(path.methods))
        raise ApiError(
            405, "method-not-allowed", f"This path takes the methods {methods}.", {"Allow": methods}
        )


def _find(segments: tuple[str, ...]) -> tuple[PublishedPath, tuple[str, ...]]:
    if segments[:1] == ("actors",):
        segments = ("acts", *segments[1:])
    for path in PUBLISHED:
        names = path.match(segments)
        if names is not None:
            return path, names
    raise ApiError(404, "page-not-found", "There is no API endpoint at this path.")


def effective_method(request: Request) -> str:
    """The request's method, or the one that its query parameter `method` puts in its place.

    Raises:
        ApiError: 400 for a method that cannot be meant.
    """
    wanted: Any = request.query.get("method")
    if wanted is None or request.method not in ("GET", "POST"):
        return request.method
    if wanted.upper() not in OVERRIDABLE:
        raise ApiError(400, "invalid-parameter", f'Parameter "method" must be one of {sorted(OVERRIDABLE)}.')
    return str(wanted.upper())
