"""A run's log as text: one line an event, `2026-01-02T03:04:05.678Z message`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web
from pydantic_core import from_json

from ...jobs.clock import iso
from ..backend import BACKEND
from .answers import HARMLESS
from .items import parse_bool
from .run_model import run_id

if TYPE_CHECKING:
    from ...jobs.events import Event
    from ...jobs.model import Job

_MESSAGES = {
    "created": "Run was created",
    "started": "Run was started",
    "retrying": "Run will be tried again",
    "completed": "Run succeeded",
    "failed": "ERROR Run failed",
    "cancelled": "WARN Run was aborted",
}


async def send_log(request: web.Request, job: Job) -> web.StreamResponse:
    """The whole log until now; with `stream`, all that comes until the run ends."""
    registry = request.app[BACKEND].registry
    headers = {"Content-Type": "text/plain; charset=utf-8", **HARMLESS}
    if parse_bool(request.query, "download"):
        headers["Content-Disposition"] = f'attachment; filename="{run_id(job)}.log"'
    if not parse_bool(request.query, "stream"):
        lines = Lines(job)
        text = "".join(lines.of(event) for event in registry.events(job.id))
        return web.Response(body=text.encode(), headers=headers)
    return await _stream(request, job, headers)


async def _stream(request: web.Request, job: Job, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    lines = Lines(job)
    async for event in request.app[BACKEND].registry.follow(job.id):
        if text := lines.of(event):
            await response.write(text.encode())
    await response.write_eof()
    return response


class Lines:
    """Writes the events of a job as lines; an event that has no time gets that of the one before."""

    def __init__(self, job: Job) -> None:
        self._time = iso(job.created_at)

    def of(self, event: Event) -> str:
        """The line of an event, empty where it says nothing to a reader."""
        data = from_json(event.data)
        self._time = data.get("at") or data.get("finishedAt") or self._time
        lines = _message(event.name, data).splitlines()
        return "".join(f"{self._time} {line}\n" for line in lines)


def _message(name: str, data: dict[str, str]) -> str:
    if name == "log":
        return f"{data['level'].upper()} {data['message']}"
    if name == "progress":
        return data["message"] or ""
    if name == "dropped":
        return f"({data['count']} lines were dropped here)"
    detail = data.get("error")
    return f"{_MESSAGES[name]}: {detail}" if detail else _MESSAGES[name]
