"""The jobs that are alive: their newest version, the version everybody sees, and who waits for the next one.

A change of a job goes through `LiveJobs.advance`: written to the store first, shown to anyone once that commit has
succeeded. Waiters await an `asyncio.Event` per job; nothing here polls.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import JobNotFound
from .clock import now_ms
from .database import Change
from .entry import Entry
from .events import Event, JobLog, count_implied, events_after, implied_events, transition_data
from .model import Job, JobStatus
from .records import encode
from .reporting import Reporting
from .telling import Step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

    from .attempts import Outcome
    from .store import JobStore
    from .telling import Telling

_RECENT = 1000
"""Ended jobs kept in memory; older and larger ones are one read of the store away."""

_RECENT_BYTES = 16_384


class LiveJobs:
    """Changes jobs, and shows what is committed.

    Args:
        store: Where changes go first.
        telling: Whom to tell of what is committed.
    """

    def __init__(self, store: JobStore, telling: Telling) -> None:
        self.pending = 0
        self.closed = False
        self._store = store
        self._telling = telling
        self._loop = asyncio.get_running_loop()
        self._entries: dict[str, Entry] = {}
        self._recent: OrderedDict[str, tuple[Job, float]] = OrderedDict()
        self._last_row = store.last_row()
        self._reporting = Reporting(self.flush_reports)

    def __iter__(self) -> Iterator[Entry]:
        return iter(list(self._entries.values()))

    def __getitem__(self, job_id: str) -> Entry:
        return self._entries[job_id]

    @property
    def unfinished(self) -> int:
        """How many jobs, accepted or about to be, are not known to have ended."""
        return len(self._entries)

    @property
    def ended(self) -> int:
        """How many jobs have ended since the store is there."""
        return self._last_row

    # --- who is alive ---

    def add(self, entry: Entry) -> None:
        """A job begins to live; nobody sees it before it is published."""
        self._entries[entry.job.id] = entry
        self.pending += entry.job.status is JobStatus.PENDING

    def restore(self, job: Job) -> Entry:
        """A job from the store lives on."""
        entry = Entry(job, published=job)
        entry.log = self._stored_log(job.id)
        entry.outboxes = self._telling.outboxes(job)
        self.add(entry)
        return entry

    def forget(self, job_id: str) -> None:
        """An ended job has left the store."""
        self._recent.pop(job_id, None)

    def withdraw(self, entry: Entry) -> None:
        """A job was not accepted after all."""
        if self._entries.pop(entry.job.id, None) is not None:
            self.pending -= entry.job.status is JobStatus.PENDING
            entry.cancel_expiry()
            if entry.job.row is not None:
                self._give_back(entry.job.row)

    def find(self, job_id: str) -> Entry | None:
        """The entry of a job that is alive and accepted."""
        entry = self._entries.get(job_id)
        return None if entry is None or entry.published is None else entry

    def has(self, entry: Entry) -> bool:
        """Whether the entry still lives."""
        return self._entries.get(entry.job.id) is entry

    def get(self, job_id: str) -> Job:
        """A job as last committed; raises JobNotFound."""
        entry = self.find(job_id)
        if entry is not None and entry.published is not None:
            return entry.published
        recent = self._recent.get(job_id)
        job = recent[0] if recent is not None else self._store.job(job_id)
        if job is None:
            raise JobNotFound
        return job

    def committed_at(self, job_id: str) -> float | None:
        """When the end of a job that ended lately was committed, on the clock of the event loop."""
        recent = self._recent.get(job_id)
        return None if recent is None else recent[1]

    def oldest_pending_age(self) -> float:
        """How long the oldest pending job has been waiting, in seconds; 0 without one."""
        pending = (entry.job for entry in self._entries.values() if entry.job.status is JobStatus.PENDING)
        oldest = next(pending, None)
        return 0.0 if oldest is None else max(0.0, (now_ms() - oldest.created_at) / 1000)

    async def wait(self, job_id: str, timeout: float) -> Job:
        """Wait until the job's end is committed, at most `timeout` seconds, and return it as it stands then."""
        entry = self.find(job_id)
        if entry is not None and timeout > 0 and not self.closed:
            entry.ended = entry.ended or asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await entry.ended.wait()
        return self.get(job_id)

    def events(self, job_id: str, after: int) -> list[Event]:
        """The job's committed events with higher ids than `after`."""
        entry = self.find(job_id)
        log = entry.log if entry is not None else self._stored_log(job_id)
        return events_after(self.get(job_id), log, after)

    async def follow(self, job_id: str, after: int) -> AsyncIterator[Event]:
        """The job's events with higher ids than `after`, as they are committed, until its terminal one."""
        while True:
            entry = self.find(job_id)
            news = None if entry is None else entry.subscribe()
            for event in self.events(job_id, after):
                after = event.id
                yield event
            if news is None or self.closed:
                return
            await news.wait()

    def close(self) -> None:
        """Nobody waits any longer: every wait and every stream ends now."""
        self.closed = True
        for entry in self._entries.values():
            entry.wake(ended=True)
        self._telling.feed.close()

    def _stored_log(self, job_id: str) -> JobLog | None:
        return JobLog.load(job_id, self._store.scan("events", job_id + "/"))

    # --- change, commit, show ---

    def created(self, entry: Entry) -> tuple[list[Change], list[Step]]:
        """What the acceptance of a job writes, and what to publish once that is committed."""
        entry.outboxes = self._telling.outboxes(entry.job)
        entry.steps = [Step(entry.job, "created")]
        return [self._change(entry), *entry.owed(entry.job, "created")], entry.steps

    def advance(
        self, entry: Entry, job: Job, event: str, then: Callable[[], None] | None = None, **details: Any
    ) -> None:
        """Make this the job's newest version; once it is committed everybody sees it, and `then` is called."""
        before, entry.job = entry.job, job
        self.pending += (job.status is JobStatus.PENDING) - (before.status is JobStatus.PENDING)
        if entry.log is None and event == "retrying":
            entry.log = _explicit_log(entry, before)
        changes = entry.owed(job, event)
        last_id = None
        if entry.log is not None:
            if not job.terminal:
                entry.log.append(event, transition_data(job, now_ms(), **details))
            changes += entry.log.changes()
            last_id = entry.log.last_id
        self._write(entry, changes, Step(job, event, last_id, then))

    def save(self, entry: Entry, job: Job, then: Callable[[], None] | None) -> None:
        """Make this the job's newest version without telling anyone; `then` is called once it is committed."""
        entry.job = job
        self._write(entry, [], Step(job, None, then=then))

    def end(self, entry: Entry, outcome: Outcome) -> None:
        """Give a job its terminal status."""
        entry.cancel_expiry()
        job = entry.job.evolve(
            status=outcome.status,
            finished_at=max(now_ms(), entry.job.created_at),
            result=outcome.result,
            error=outcome.error,
            error_code=outcome.code,
            next_attempt_at=None,
        )
        self.advance(entry, job, job.status)

    def publish(self, entry: Entry, steps: Sequence[Step]) -> None:
        """These versions of the job are committed: from now on everybody sees the last one."""
        if entry.steps is steps:
            entry.steps = None
        last = steps[-1]
        ended = last.job.terminal
        if ended:
            last.job = entry.job  # which knows its row
        job = entry.published = last.job
        if entry.log is not None:
            entry.log.show(max(step.last_id or count_implied(step.job) for step in steps))
        if ended:
            self._remember(job)
            del self._entries[job.id]
            self._telling.ended(job)
        entry.wake(ended=ended)
        self._telling.committed(steps, entry.outboxes)

    def _write(self, entry: Entry, changes: Sequence[Change], step: Step) -> None:
        """Write the newest version with the commit that an earlier one waits for, or else with one of its own."""
        write = entry.write
        if write is not None and write.open and entry.steps is not None:
            write.join(changes)
            entry.steps.append(step)
            return
        entry.steps = [step]
        show = partial(self.publish, entry, entry.steps)
        entry.write = self._store.write([self._change(entry), *changes], show, follows=entry.accept)

    def _change(self, entry: Entry) -> Change:
        return Change("jobs", entry.job.id, partial(self._encode, entry))

    def _encode(self, entry: Entry) -> bytes:
        """The newest version when its commit starts; an ended job is given the number of its row then."""
        job = entry.job
        if job.terminal and job.row is None:
            self._last_row += 1
            job = entry.job = job.evolve(row=self._last_row, final=job.snapshot_json())
        return encode(job)

    def _give_back(self, row: int) -> None:
        """Rows are counted without gaps: who ended after this one moves up, being just as little committed."""
        self._last_row -= 1
        for entry in self._entries.values():
            if entry.job.row is not None and entry.job.row > row:
                entry.job = entry.job.evolve(row=entry.job.row - 1)

    def _remember(self, job: Job) -> None:
        if len(job.result or b"") + len(job.task) <= _RECENT_BYTES:
            self._recent[job.id] = (job, self._loop.time())
            if len(self._recent) > _RECENT:
                self._recent.popitem(last=False)

    # --- what handlers tell ---

    def progress(self, job_id: str, fraction: float | None, message: str | None) -> None:
        """How far a running job is; from any thread."""
        self._reporting.progress(job_id, fraction, message)

    def log(self, job_id: str, level: str, message: str) -> None:
        """A line of a running job's log; from any thread."""
        self._reporting.log(job_id, level, message)

    def put(self, job_id: str, changes: Iterable[Change]) -> None:
        """Something a running job stores; committed with its end at the latest."""
        entry = self._entries.get(job_id)
        if entry is not None and not entry.job.terminal:
            self._store.write(changes, follows=entry.accept)

    def flush_reports(self, job_id: str) -> None:
        """Write what a running job has told since the last flush."""
        reports, progress = self._reporting.take(job_id)
        entry = self._entries.get(job_id)
        if not reports or entry is None or entry.job.status is not JobStatus.RUNNING:
            return
        entry.log = entry.log or _explicit_log(entry, entry.job)
        for report in reports:
            entry.log.append(report.name, report.data)
        entry.job = entry.job.evolve(progress=progress or entry.job.progress)
        show = partial(self._show_reports, entry, entry.job, entry.log.last_id)
        self._store.write(entry.log.changes(), show, follows=entry.accept)

    def _show_reports(self, entry: Entry, job: Job, last_id: int) -> None:
        if entry.log is not None:
            entry.log.show(last_id)
        if entry.published is not None and entry.published.rank == job.rank:
            entry.published = entry.published.evolve(progress=job.progress)
        entry.wake(ended=False)


def _explicit_log(entry: Entry, job: Job) -> JobLog:
    """The log that followed from the job until now; what is not committed of it is not shown yet."""
    visible = 0 if entry.published is None else count_implied(entry.published)
    return JobLog(job.id, implied_events(job), visible)
