"""A body that trickles is given up after a while; a stream that has nothing to say stays open."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from tests.acceptance.raw import conversation
from tests.acceptance.sse import events_of

if TYPE_CHECKING:
    from tests.acceptance.service import Client, Service


async def test_quiet_connections(make):
    service: Service = await make().start()
    await asyncio.gather(_a_body_that_trickles(service), _a_stream_that_idles(service))


async def _a_body_that_trickles(service: Service) -> None:
    head = b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    start = time.monotonic()
    answer = await conversation(service.port, head + b'Content-Length: 100\r\n\r\n{"payload":', seconds=60)
    assert b" 408 " in answer.partition(b"\r\n")[0], answer
    assert b"application/problem+json" in answer
    assert 25 < time.monotonic() - start < 50


async def _a_stream_that_idles(service: Service) -> None:
    async with service.client() as http:
        job_id = await http.submit({"options": {"delayMs": 600_000}})
        counts = await asyncio.gather(
            *(_comments(http, path) for path in (f"/tasks/{job_id}/events", "/events"))
        )
    assert all(2 <= count <= 6 for count in counts), counts


async def _comments(http: Client, path: str) -> int:
    """How many comments an idle stream sends in 34 s."""
    count = 0
    async with http.session.get(path) as response:
        try:
            async with asyncio.timeout(34):
                async for event in events_of(response, comments=True):
                    count += event.name == "comment"
        except TimeoutError:
            return count
    raise AssertionError("the stream ended")
