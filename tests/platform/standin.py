"""A stand-in for the Apify API and its events socket that tests start and make fail at will.

It serves what the SDK and this service use of a run: the run itself, its default key-value store and dataset,
charges, and the socket that announces migrations and aborts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.platform.api import RunApi, error
from tests.platform.storage import Call, Fault, Meter

if TYPE_CHECKING:
    from collections.abc import Coroutine

TOKEN = "apify_api_standin"


class StandIn(RunApi):
    """The platform as one run sees it. Attributes may be changed at any time by the test.

    Attributes:
        latency: seconds that every call takes.
        faults: tried in order; the first that strikes decides.
        enforce_rates: refuse calls above the API's rate limits with 429.
    """

    def __init__(self, *, latency: float = 0.0, lag: float = 0.0) -> None:
        super().__init__(lag=lag)
        self.latency = latency
        self.faults: list[Fault] = []
        self.meter = Meter()
        self.enforce_rates = True
        self.dice = random.Random(7)
        self.port = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self._late: set[asyncio.Task[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Base URL, without the version."""
        return f"http://127.0.0.1:{self.port}"

    # Life: in a thread of its own, so that tests may block.

    def __enter__(self) -> StandIn:
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="standin", daemon=True
        )
        self._thread.start()
        if not started.wait(10):
            raise RuntimeError("the stand-in did not start")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _serve(self, started: threading.Event | None = None, port: int = 0) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        self.port = runner.addresses[0][1]
        if started is not None:
            started.set()
        await self._stop.wait()
        for task in self._late:
            task.cancel()
        for socket in list(self._sockets):
            await socket.close()
        await runner.cleanup()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the stand-in's loop from the test's thread."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def send_event(self, name: str, data: dict[str, Any] | None = None) -> None:
        """Announce `migrating`, `persistState` or `aborting` to the run."""

        async def send() -> None:
            for socket in list(self._sockets):
                with contextlib.suppress(ConnectionError):
                    await socket.send_json(
                        {"name": name, "data": data or {}, "createdAt": "2026-01-02T03:04:05.678Z"}
                    )

        self.migrating = name == "migrating" or (self.migrating and name != "aborting")
        self.run(send())

    def drop_sockets(self) -> None:
        """Cut the events sockets, as a restart of the platform's own server does."""

        async def drop() -> None:
            for socket in list(self._sockets):
                await socket.close(code=1012)

        self.run(drop())

    def app(self) -> web.Application:
        """The API and the events socket as an aiohttp application."""
        app = web.Application(middlewares=[self._meet], client_max_size=64 * 1024 * 1024)
        app.add_routes([web.get("/events", self._events), *self.routes()])
        return app

    @web.middleware
    async def _meet(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path == "/events":
            return await handler(request)
        body = await request.read()
        name = request.match_info.route.name or "unknown"
        if self.latency:
            await asyncio.sleep(self.latency)
        call = Call(time.monotonic(), name, request.path, len(body))
        kind = "record" if name.endswith("-record") else "push" if name == "push" else "other"
        if not self.meter.admit(kind, call) and self.enforce_rates:
            return error(429, "rate-limit-exceeded")
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(401, "token-not-valid")
        for fault in self.faults:
            if fault.strikes(f"{request.method} {request.path}", self.dice):
                return await self._fail(fault, request, handler)
        return await handler(request)

    async def _fail(self, fault: Fault, request: web.Request, handler: Any) -> web.StreamResponse:
        if fault.applied:
            await handler(request)
        if fault.kind == "hang":
            await asyncio.sleep(fault.seconds)
            return error(504, "gateway-timeout")
        if fault.kind == "late":
            self._apply_late(fault, request, handler)
        if fault.kind in ("cut", "late") and request.transport is not None:
            request.transport.abort()
        return error(fault.status, "rate-limit-exceeded" if fault.status == 429 else "internal-error")

    def _apply_late(self, fault: Fault, request: web.Request, handler: Any) -> None:
        async def apply() -> None:
            await asyncio.sleep(fault.seconds)
            await handler(request)

        task = asyncio.ensure_future(apply())
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _events(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(heartbeat=None)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async for _ in socket:
                pass
        finally:
            self._sockets.discard(socket)
        return socket


def main() -> None:
    """Serve in a process of its own until killed, for measurements: prints the port."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    standin = StandIn(latency=options.latency_ms / 1000)

    async def serve() -> None:
        task = asyncio.ensure_future(standin._serve(port=options.port))
        while not standin.port:
            await asyncio.sleep(0.01)
        print(standin.port, flush=True)
        await task

    asyncio.run(serve())


if __name__ == "__main__":
    main()
