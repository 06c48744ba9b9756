"""Dataset rows: one per ended job, written in the order of ending, off the hot path.

A job's end gives it a row number in the same transaction. `RowWriter` hands rows to a sink in that order and
then commits how far it has come; after a crash it goes on from there. A sink takes a row twice without doubling it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ..jobs.database import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ..jobs.model import Job
    from ..jobs.store import JobStore

logger = logging.getLogger(__name__)

CURSOR = "rowsWritten"

_BATCH = 500
_BACKLOG = 10_000
_BACKLOG_BYTES = 16_000_000
"""Rows held in memory at most, and what their tasks and results hold; beyond that they are read from the store when
their turn comes."""

_RETRY_SECONDS = 1.0
_GATHER_SECONDS = 0.02
"""The first row after a pause waits so long for others to go with it."""


class Row(NamedTuple):
    """One row: its number, whose it is, and the item as JSON text."""

    number: int
    job_id: str
    text: bytes


class RowSink(Protocol):
    """Where rows go."""

    async def present(self, rows: Sequence[Row]) -> int:
        """How many of these first rows after the cursor are there already; called once, at the start."""

    async def append(self, rows: Sequence[Row]) -> None:
        """Write rows; raises when that is not certain. The same rows come again then."""


class RowWriter:
    """Works off the rows that ends owe."""

    def __init__(self, store: JobStore, sink: RowSink) -> None:
        self._store = store
        self._sink = sink
        self._queue: deque[Job] = deque()
        self._held = 0
        self._behind = True
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self.cursor = store.number(CURSOR)
        self.last = store.last_row()

    @property
    def pending(self) -> int:
        """Rows that are owed."""
        return self.last - self.cursor

    def ended(self, job: Job) -> None:
        """An ended job owes its row; its number in the store is all that this needs."""
        self.last = max(self.last, job.row or 0)
        self._idle.clear()
        if len(self._queue) >= _BACKLOG or self._held >= _BACKLOG_BYTES:
            self._fall_behind()
        if not self._behind:
            self._queue.append(job)
            self._held += _size(job)
        self._wake.set()

    async def run(self) -> None:
        """Write rows for ever."""
        first = await self._load()
        while True:
            try:
                already = await self._sink.present(first)
                break
            except Exception as exc:
                await self._pause(exc)
        await self._commit(first[:already])
        while True:
            rows = await self._next()
            try:
                await self._sink.append(rows)
            except Exception as exc:
                self._fall_behind()
                await self._pause(exc)
            else:
                await self._commit(rows)

    async def flush(self) -> None:
        """Wait until nothing is owed."""
        if self.pending:
            await self._idle.wait()

    async def _next(self) -> list[Row]:
        while True:
            if self._behind:
                if rows := await self._catch_up():
                    return rows
            elif self._queue:
                if rows := self._take():
                    return rows
            else:
                if not self.pending:
                    self._idle.set()
                self._wake.clear()
                await self._wake.wait()
                await asyncio.sleep(_GATHER_SECONDS)

    async def _catch_up(self) -> list[Row]:
        """The next rows of the store; empty once it has no more."""
        self._behind = False  # who ends from now on may not be found
        last = self.last
        rows = await self._load()
        if rows:
            self._behind = True
        else:
            self.cursor = max(self.cursor, last)  # the jobs of these rows have left the store
        return rows

    def _fall_behind(self) -> None:
        """Go on with what the store holds."""
        self._behind = True
        self._queue.clear()
        self._held = 0

    def _take(self) -> list[Row]:
        """The next rows of the queue, without those that were read from the store and written meanwhile."""
        jobs = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
        self._held -= sum(map(_size, jobs))
        return [row for row in _rows(jobs) if row.number > self.cursor]

    async def _load(self) -> list[Row]:
        return _rows(await self._store.ended_after(self.cursor, _BATCH))

    async def _commit(self, rows: Sequence[Row]) -> None:
        if rows:
            self.cursor = max(self.cursor, rows[-1].number)
            # The cursor stays within one batch of the rows: a sink may have to find them again after a crash.
            cursor = Change("meta", CURSOR, b"%d" % self.cursor)
            more = self._behind or bool(self._queue)
            await self._store.write([cursor], lazy=not more).committed()

    async def _pause(self, exc: Exception) -> None:
        logger.warning("rows cannot be written, trying again: %s", exc)
        await asyncio.sleep(_RETRY_SECONDS)


def _rows(jobs: Iterable[Job]) -> list[Row]:
    return [Row(job.row, job.id, job.row_json()) for job in jobs if job.row is not None]


def _size(job: Job) -> int:
    return len(job.task) + len(job.result or b"")
