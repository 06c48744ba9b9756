"""The routes as data: what aiohttp serves, `GET /` lists, OpenAPI describes and the README's table shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web

from ..errors import BodyTooLarge, ExpectationFailed, ServiceError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

ErrorAnswer = Callable[[web.Request, ServiceError], web.StreamResponse]
Openness = Callable[[web.Request], bool]


def always(_: web.Request) -> bool:
    """Open to everybody."""
    return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method of one path.

    Attributes:
        summary: What it does, in one line.
        answers: What each status means; the value is a description or an OpenAPI response.
        parameters: OpenAPI parameter objects beside those of the path.
        body: An OpenAPI request body object.
        open: For which requests no credentials are needed.
        name: The operation's id for programs.
    """

    method: str
    path: str
    handler: Handler
    name: str
    summary: str
    answers: Mapping[int, str | Mapping[str, Any]]
    parameters: tuple[Mapping[str, Any], ...] = ()
    body: Mapping[str, Any] | None = None
    open: Openness | None = None


@dataclass(slots=True)
class Routes:
    """All routes, and how errors are written under a path prefix."""

    routes: list[Route]
    error_forms: dict[str, ErrorAnswer]
    default_form: ErrorAnswer
    _open: dict[tuple[str, str], Openness] = field(init=False)

    def __post_init__(self) -> None:
        self._open = {
            (route.method, route.path): route.open for route in self.routes if route.open is not None
        }

    def definitions(self) -> Iterable[web.RouteDef]:
        """For `Application.add_routes`; a GET answers HEAD too."""
        defined = [(route.method, route.path, route.handler) for route in self.routes]
        defined += [("HEAD", route.path, route.handler) for route in self.routes if route.method == "GET"]
        literal = dict.fromkeys(route.path for route in self.routes if "{" not in route.path)
        defined += [("*", path, self._refusal(path)) for path in literal]
        return [web.route(*route, expect_handler=self.expect) for route in defined]

    async def expect(self, request: web.Request) -> web.StreamResponse | None:
        """Let a client go on that asks before it sends the body, unless it need not send it (RFC 9110 §10.1.1)."""
        if request.headers["Expect"].lower() != "100-continue":
            return self.error_answer(request, ExpectationFailed())
        if (request.content_length or 0) > request.client_max_size:
            return self.error_answer(request, BodyTooLarge())
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the answer itself has not begun
        return None

    def _refusal(self, path: str) -> Handler:
        """Refuses other methods of a literal path, so that none is taken for one with a variable in its place."""
        methods = {route.method for route in self.routes if route.path == path}
        allowed = methods | ({"HEAD"} if "GET" in methods else set())

        async def refuse(request: web.Request) -> web.StreamResponse:
            raise web.HTTPMethodNotAllowed(request.method, allowed)

        return refuse

    def is_open(self, request: web.Request) -> bool:
        """Whether this request needs no credentials."""
        resource = request.match_info.route.resource
        if resource is None:
            return False
        method = "GET" if request.method == "HEAD" else request.method
        openness = self._open.get((method, resource.canonical))
        return openness is not None and openness(request)

    def error_answer(self, request: web.Request, error: ServiceError) -> web.StreamResponse:
        """An error in the form that the request's path speaks."""
        for prefix, form in self.error_forms.items():
            if request.path.startswith(prefix):
                return form(request, error)
        return self.default_form(request, error)
