"""Around every request: readiness, credentials, problem documents, and a log line without secrets."""

from __future__ import annotations

import logging
from itertools import count
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger

from ..errors import BadRequest, BodyTooLarge, MethodNotAllowed, NotFound, ServiceError, Starting
from ..logs import LineLog
from .backend import BACKEND
from .responses import problem

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from .auth import Gatekeeper
    from .routes import Routes

logger = logging.getLogger(__name__)
log = LineLog("async_endpoint.access")

_numbers = count(1)

_ID = web.RequestKey("id", str)


def guard(gatekeeper: Gatekeeper, routes: Routes) -> Middleware:
    """Let in whom the gatekeeper knows, once the service is ready; open routes take everybody at any time."""

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        request[_ID] = f"{next(_numbers):x}"
        try:
            if not routes.is_open(request):
                gatekeeper.check(request)
                if not request.app[BACKEND].ready:
                    raise Starting
            return await handler(request)
        except ServiceError as error:
            return routes.error_answer(request, error)
        except web.HTTPException as exc:
            return routes.error_answer(request, _translate(exc))
        except Exception:
            logger.exception("request=%s failed", request[_ID])
            return routes.error_answer(
                request, ServiceError("Something went wrong inside; the log says what.")
            )

    return middleware


def _translate(exc: web.HTTPException) -> ServiceError:
    """Aiohttp's own refusals in this service's terms."""
    if isinstance(exc, web.HTTPMethodNotAllowed):
        error = MethodNotAllowed()
        error.headers["Allow"] = ", ".join(sorted(exc.allowed_methods))
        return error
    if isinstance(exc, web.HTTPNotFound):
        return NotFound()
    if isinstance(exc, web.HTTPRequestEntityTooLarge):
        return BodyTooLarge()
    return BadRequest(exc.reason)


def answer_with_problem(request: web.Request, error: ServiceError) -> web.Response:
    """The default form of errors."""
    return problem(error)


class AccessLogger(AbstractAccessLogger):
    """One line per request: no query string, no headers, since those carry tokens."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        """Write the line; `time` is in seconds."""
        log.write(
            f"request={request.get(_ID, '-')} {request.method} {request.rel_url.raw_path} "
            f"{response.status} {response.body_length} bytes {time * 1000:.1f} ms"
        )

    @property
    def enabled(self) -> bool:
        """Whether lines are written at all."""
        return log.enabled
