"""What handlers tell while they work: progress and log lines, coalesced so that telling often costs nothing."""

from __future__ import annotations

import asyncio
from threading import RLock
from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import to_json

from .clock import iso, now_ms

if TYPE_CHECKING:
    from collections.abc import Callable

_FLUSH_SECONDS = 0.2
"""Reports of one job reach the store at most this often; of several progress reports the last one counts."""

_LINES_PER_FLUSH = 200
_LINE_CHARS = 2000


class Report(NamedTuple):
    """One event to append to a job's log; `data` is JSON text."""

    name: str
    data: bytes


class _Buffer:
    __slots__ = ("lines", "progress", "skipped")

    def __init__(self) -> None:
        self.lines: list[Report] = []
        self.progress: bytes | None = None
        self.skipped = 0


class Reporting:
    """Buffers reports per job; callable from any thread.

    Args:
        flush: Called on the loop with the id of a job that has reports to `take`.
    """

    def __init__(self, flush: Callable[[str], None]) -> None:
        self._flush = flush
        self._loop = asyncio.get_running_loop()
        self._buffers: dict[str, _Buffer] = {}
        self._lock = RLock()  # a finalizer may report in the middle of a report

    def progress(self, job_id: str, fraction: float | None, message: str | None) -> None:
        """Keep the newest progress; `fraction` is clamped to 0…1."""
        clamped = None if fraction is None else min(max(float(fraction), 0.0), 1.0)
        if clamped != clamped:
            clamped = None
        text = None if message is None else _clean(message)
        data = to_json({"fraction": clamped, "message": text})
        with self._lock:
            self._buffer(job_id).progress = data

    def log(self, job_id: str, level: str, message: str) -> None:
        """Keep a line, cut to a bound; of too many at once the later ones are only counted."""
        with self._lock:
            buffer = self._buffer(job_id)
            if len(buffer.lines) >= _LINES_PER_FLUSH:
                buffer.skipped += 1
                return
            data = {"level": level, "message": _clean(message), "at": iso(now_ms())}
            buffer.lines.append(Report("log", to_json(data)))

    def take(self, job_id: str) -> tuple[list[Report], bytes | None]:
        """The reports since the last call, and the newest progress."""
        if job_id not in self._buffers:
            return [], None
        with self._lock:
            buffer = self._buffers.pop(job_id, None)
        if buffer is None:
            return [], None
        reports = list(buffer.lines)
        if buffer.skipped:
            reports.append(Report("dropped", to_json({"count": buffer.skipped})))
        if buffer.progress is not None:
            reports.append(Report("progress", buffer.progress))
        return reports, buffer.progress

    def _buffer(self, job_id: str) -> _Buffer:
        buffer = self._buffers.get(job_id)
        if buffer is None:
            buffer = self._buffers[job_id] = _Buffer()
            self._loop.call_soon_threadsafe(self._loop.call_later, _FLUSH_SECONDS, self._flush, job_id)
        return buffer


def _clean(text: str) -> str:
    return str(text)[:_LINE_CHARS].encode("utf-8", "replace").decode()
