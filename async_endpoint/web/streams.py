"""Event streams (Server-Sent Events, HTML Living Standard §9.2)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from .backend import BACKEND
from .requests import integer
from .tasks import job_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..jobs.events import Event
    from ..jobs.feed import Transition

LAST_EVENT_ID = 10**15
"""No log has more events."""

_HEARTBEAT_SECONDS = 15.0
_SLOW_READER_SECONDS = 30.0
"""A reader that takes longer to take one event is dropped: it can resume where it stood."""

_HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


async def job_events(request: web.Request) -> web.StreamResponse:
    """GET /tasks/{jobId}/events."""
    job, after, registry = job_of(request), _last_seen(request), request.app[BACKEND].registry
    if job.terminal and not registry.events(job.id, after):
        return web.Response(status=204)
    return await _stream(request, map_events(registry.follow(job.id, after)))


async def all_events(request: web.Request) -> web.StreamResponse:
    """GET /events."""
    with request.app[BACKEND].registry.feed.subscribe() as reader:
        return await _stream(request, _live(reader))


def _last_seen(request: web.Request) -> int:
    """The id after which the reader wants to go on; a `Last-Event-ID` that is no id is ignored."""
    header = request.headers.get("Last-Event-ID", "")
    if header.isascii() and header.isdigit():
        return int(header[:15])
    return integer(request, "after", 0, LAST_EVENT_ID) or 0


async def map_events(events: AsyncIterator[Event]) -> AsyncIterator[bytes]:
    """The events of one job as blocks of the stream."""
    async for event in events:
        yield b"id: %d\nevent: %b\ndata: %b\n\n" % (event.id, event.name.encode(), event.data)


async def _live(reader: asyncio.Queue[Transition | None]) -> AsyncIterator[bytes]:
    while (transition := await reader.get()) is not None:
        yield b"event: %b\ndata: %b\n\n" % (transition.name.encode(), transition.data)


async def _stream(request: web.Request, blocks: AsyncIterator[bytes]) -> web.StreamResponse:
    """Write blocks as they come, and a comment when none came for a while."""
    response = web.StreamResponse(headers=_HEADERS)
    await response.prepare(request)
    await _write(request, response, b": stream\n\n")
    following = asyncio.ensure_future(anext(blocks, None))
    try:
        while True:
            done, _ = await asyncio.wait({following}, timeout=_HEARTBEAT_SECONDS)
            if not done:
                await _write(request, response, b": still here\n\n")
                continue
            block = following.result()
            if block is None:
                return response
            await _write(request, response, block)
            following = asyncio.ensure_future(anext(blocks, None))
    finally:
        following.cancel()


async def _write(request: web.Request, response: web.StreamResponse, block: bytes) -> None:
    try:
        async with asyncio.timeout(_SLOW_READER_SECONDS):
            await response.write(block)
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
        raise ConnectionResetError("the reader of an event stream is too slow") from None
