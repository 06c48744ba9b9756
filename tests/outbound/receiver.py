"""A webhook receiver that behaves as a test wants it to, and remembers what it got."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from standardwebhooks import Webhook

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Got:
    """One request."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    def json(self) -> Any:
        return json.loads(self.body)

    def verified(self, secret: str = SECRET) -> Any:
        """The message, which the reference library must accept."""
        return Webhook(secret).verify(self.body, dict(self.headers))


class Receiver:
    """Answers each path with its list of replies in turn, the last one for ever; 200 where there is none.

    A reply is a status, a (status, headers) pair, `hang`, `cut` or a function of the request.
    """

    def __init__(self) -> None:
        self.replies: dict[str, list[Any]] = {}
        self.got: list[Got] = []
        self.url = ""
        self._news = asyncio.Condition()

    async def wait_for(self, count: int, path: str | None = None, seconds: float = 10) -> list[Got]:
        """What came (to this path), once it is at least `count` requests."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: len(self.at(path)) >= count)
        return self.at(path)

    def at(self, path: str | None) -> list[Got]:
        return [got for got in self.got if path in (None, got.path)]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        async with self._news:
            self.got.append(Got(request.path, request.headers, body))
            self._news.notify_all()
        replies = self.replies.get(request.path, [200])
        return await _reply(replies.pop(0) if len(replies) > 1 else replies[0], request)


async def _reply(reply: Any, request: web.Request) -> web.StreamResponse:
    if reply == "hang":
        await asyncio.sleep(60)
    if reply == "cut":
        assert request.transport is not None
        request.transport.abort()
        return web.Response()
    if callable(reply):
        respond: Callable[[web.Request], Any] = reply
        response: web.StreamResponse = await respond(request)
        return response
    status, headers = reply if isinstance(reply, tuple) else (reply, {})
    return web.Response(status=status, headers=headers)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver at work on a port of its own."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", receiver.answer)
    server = TestServer(app, shutdown_timeout=0)
    await server.start_server(access_log=None)
    receiver.url = str(server.make_url("")).rstrip("/")
    try:
        yield receiver
    finally:
        await server.close()
