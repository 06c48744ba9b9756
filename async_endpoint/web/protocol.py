"""Answers what is hardly HTTP: a request that never reaches the application gets a problem document, too.

aiohttp would answer plain text and log the raw request line, which may bear a token.
"""

from __future__ import annotations

from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from ..errors import BadRequest, ServiceError
from .responses import problem


class ProblemProtocol(RequestHandler):
    """One connection."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what could not be parsed, or failed outside the application; it closes the connection."""
        if request.writer.output_size > 0 or isinstance(exc, ConnectionError):
            raise ConnectionError("the answer has begun already")
        error = BadRequest("This is not a valid HTTP request.") if status < 500 else ServiceError()
        if status >= 500:
            self.logger.error("a request failed", exc_info=exc)
        response = problem(error)
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Keep quiet about what clients did wrong: they were told, and the access log has the line."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)


class ProblemServer(web.Server):
    """Makes a protocol for each connection."""

    def __call__(self) -> RequestHandler:
        """A new connection."""
        return ProblemProtocol(self, loop=self._loop, **self._kwargs)


class ProblemRunner(web.AppRunner):
    """Runs an application on that server; aiohttp has no public way to choose the class."""

    async def _make_server(self) -> web.Server:
        server = await super()._make_server()
        server.__class__ = ProblemServer
        return server
