"""The one wait path: every route that waits for a job's end comes through here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from .backend import BACKEND, Backend
from .requests import integer, milliseconds, query
from .responses import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..jobs.model import Job

_LONGEST_HEARTBEAT_MS = 3_600_000


def wait_seconds(request: web.Request, in_body: object = None) -> float:
    """How long the caller wants to wait: the query's `timeoutMs`, else the body's, else the default; clamped."""
    settings = request.app[BACKEND].settings
    wanted: object = query(request, "timeoutMs")
    wanted = in_body if wanted is None else wanted
    chosen = settings.default_wait_timeout_ms if wanted is None else milliseconds(wanted, "timeoutMs")
    return min(max(chosen, 0), settings.max_wait_timeout_ms) / 1000


def clamped(request: web.Request, seconds: float) -> float:
    """A wait of `Prefer`, within the bounds of the settings."""
    return min(seconds, request.app[BACKEND].settings.max_wait_timeout_ms / 1000)


def heartbeat_seconds(request: web.Request) -> float | None:
    """The interval at which the caller wants signs of life; None for none."""
    interval = integer(request, "heartbeatMs", 1000, _LONGEST_HEARTBEAT_MS)
    return None if interval is None else interval / 1000


async def answer_when_done(
    request: web.Request,
    job_id: str,
    seconds: float,
    *,
    unfinished: int = 202,
    headers: Mapping[str, str] | None = None,
) -> web.StreamResponse:
    """Answer with the snapshot: 200 once the job has ended, `unfinished` when the time is over."""
    backend = request.app[BACKEND]
    heartbeat = heartbeat_seconds(request)
    if heartbeat is not None:
        return await _answer_with_heartbeats(request, job_id, seconds, heartbeat, headers)
    waits = not backend.registry.get(job_id).terminal
    job = await backend.registry.wait(job_id, seconds)
    response = snapshot(backend, job, 200 if job.terminal else unfinished, headers)
    if waits and job.terminal:
        await response.prepare(request)
        await response.write_eof()
        _observe(backend, job_id)
    return response


def snapshot(
    backend: Backend, job: Job, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """A job as an answer."""
    return json_text(job.snapshot_json(backend.registry.position(job)), status, headers)


async def _answer_with_heartbeats(
    request: web.Request, job_id: str, seconds: float, interval: float, headers: Mapping[str, str] | None
) -> web.StreamResponse:
    """Begin a 200 at once and write white space, which JSON allows in front, until the snapshot is there."""
    backend = request.app[BACKEND]
    response = web.StreamResponse(headers={"Content-Type": "application/json", **(headers or {})})
    await response.prepare(request)
    wait = asyncio.ensure_future(backend.registry.wait(job_id, seconds))
    try:
        while not (await asyncio.wait({wait}, timeout=interval))[0]:
            await response.write(b" ")
    finally:
        wait.cancel()
    job = wait.result()
    await response.write(job.snapshot_json(backend.registry.position(job)))
    await response.write_eof()
    return response


def _observe(backend: Backend, job_id: str) -> None:
    committed = backend.registry.committed_at(job_id)
    if committed is not None:
        backend.metrics.wake_up.observe(asyncio.get_running_loop().time() - committed)
