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
        except ConnectionError:
            raise
        except Exception as exc:
            response = routes.error_answer(request, _translate(request, exc))
            if request.content.exception() is not None or not request.content.is_eof():
                response.force_close()  # the rest of the body is in the way of the next request
            return response

    return middleware


def _translate(request: web.Request, exc: Exception) -> ServiceError:
    """What went wrong in this service's terms; raises ConnectionError when the answer has begun already."""
    if isinstance(exc, ServiceError):
        return exc
    if isinstance(exc, web.HTTPException):
        return _refusal(exc)
    logger.error("request=%s failed", request[_ID], exc_info=exc)
    if request.writer.output_size > 0:
        raise ConnectionError("the answer broke off") from exc
    return ServiceError("Something went wrong inside; the log says what.")


def _refusal(exc: web.HTTPException) -> ServiceError:
    """A refusal of aiohttp's own."""
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
