from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from async_endpoint.errors import BadRequest
from async_endpoint.jobs.events import Event
from async_endpoint.web import streams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def streaming(blocks: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await streams._stream(request, blocks)

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestClient(TestServer(app)) as client, client.get("/") as response:
        yield response


@pytest.mark.parametrize(
    ("query", "header", "after"),
    [("", None, 0), ("?after=7", None, 7), ("?after=7", "3", 3), ("", "0012", 12), ("?after=7", "٣", 7)]
    + [("?after=7", odd, 7) for odd in ("", "x", "-1", "1.0")]
    + [("", "9" * 5000, int("9" * 15))],
)
def test_a_reader_goes_on_after_the_last_id_it_saw(query: str, header: str | None, after: int) -> None:
    headers = {} if header is None else {"Last-Event-ID": header}
    assert streams._last_seen(make_mocked_request("GET", f"/{query}", headers)) == after


def test_an_odd_place_in_the_query_is_refused() -> None:
    with pytest.raises(BadRequest, match="after"):
        streams._last_seen(make_mocked_request("GET", "/?after=x"))


async def test_an_event_is_a_block_with_its_id() -> None:
    async def events() -> AsyncIterator[Event]:
        yield Event(1, "created", b"{}")
        yield Event(7, "log", b'{"a":"b\\n"}')

    assert [block async for block in streams.map_events(events())] == [
        b"id: 1\nevent: created\ndata: {}\n\n",
        b'id: 7\nevent: log\ndata: {"a":"b\\n"}\n\n',
    ]


async def test_a_stream_begins_at_once_and_ends_with_its_blocks() -> None:
    gate = asyncio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        await gate.wait()
        yield b"data: 1\n\n"
        yield b"data: 2\n\n"

    async with streaming(blocks()) as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readuntil(b"\n\n") == b": stream\n\n"
        gate.set()
        assert await response.read() == b"data: 1\n\ndata: 2\n\n"


async def test_while_nothing_comes_the_connection_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting goes on as if nothing was: no block is lost by a sign of life."""
    monkeypatch.setattr(streams, "_HEARTBEAT_SECONDS", 0.02)

    async def blocks() -> AsyncIterator[bytes]:
        for number in range(3):
            await asyncio.sleep(0.05)
            yield b"data: %d\n\n" % number

    async with streaming(blocks()) as response:
        text = await response.read()
    assert text.count(b": still here\n\n") >= 3
    kept = text.replace(b": still here\n\n", b"").replace(b": stream\n\n", b"")
    assert kept == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_when_the_reader_leaves_so_does_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_HEARTBEAT_SECONDS", 0.02)
    left = asyncio.Event()

    async def blocks() -> AsyncIterator[bytes]:
        try:
            await asyncio.sleep(60)
            yield b""
        finally:
            left.set()

    async with streaming(blocks()) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
        await asyncio.wait_for(left.wait(), 5)
