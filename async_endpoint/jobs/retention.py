"""Lets ended jobs leave the store: the oldest first, by age and by number, never one that still owes something."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .clock import now_ms
from .database import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .store import EndedJob, JobStore

_SWEEP_SECONDS = 5.0
_PAGE = 500
_PARTS = ("events", "deliveries", "items", "records")
"""Tables whose keys begin with the job's id."""


class Retention:
    """Removes ended jobs, with all that hangs on them.

    Args:
        store: The open store.
        hours: How long an ended job is kept.
        most: How many are kept.
        owes: Whether a job's end is not worked off yet; asked of every candidate.
        forget: Told the id of each job that has left.
    """

    def __init__(
        self,
        store: JobStore,
        hours: int,
        most: int,
        *,
        owes: Iterable[Callable[[EndedJob], bool]],
        forget: Callable[[str], None],
    ) -> None:
        self._store = store
        self._keep_ms = hours * 3_600_000
        self._most = most
        self._owes = tuple(owes)
        self._forget = forget

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            if self._store.writable:
                await self.sweep()

    async def sweep(self) -> None:
        """Remove what is too old or too much now."""
        excess = await self._store.count_ended() - self._most
        oldest = now_ms() - self._keep_ms
        after = 0
        while page := await self._store.ended_jobs(after, _PAGE):
            after = page[-1].row
            leaving = [job for place, job in enumerate(page) if place < excess or job.finished < oldest]
            if not leaving:
                return
            excess -= len(page)
            await self._remove([job for job in leaving if not any(owes(job) for owes in self._owes)])

    async def _remove(self, jobs: list[EndedJob]) -> None:
        if jobs:
            changes = [change for job in jobs for change in self._removal(job)]
            await self._store.write(changes).committed()
            for job in jobs:
                self._forget(job.id)

    def _removal(self, job: EndedJob) -> list[Change]:
        changes = [Change("jobs", job.id, None)]
        if job.idempotency is not None:
            changes.append(Change("idempotency", job.idempotency, None))
        for table in _PARTS:
            changes += [Change(table, key, None) for key in self._store.keys(table, job.id + "/")]
        return changes
