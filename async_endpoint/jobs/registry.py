"""The registry: what the outside does with jobs.

`Acceptance` commits a submission to the store before it is answered, the dispatcher starts the jobs, and `LiveJobs`
shows them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from ..errors import JobNotFinished, StoreUnavailable
from .acceptance import Acceptance, Accepted, Task
from .attempts import CANCELLED, Handler, StopReason
from .dispatcher import Dispatcher, Limits
from .live import LiveJobs
from .model import Job, JobStatus
from .telling import Telling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from .entry import Entry
    from .events import Event
    from .feed import Feed
    from .idempotency import Idempotency
    from .metrics import Metrics
    from .store import JobStore
    from .telling import Observer, Outbox

_FLUSH_SECONDS = 10.0
"""How long the store may take to commit the last changes at the end."""


class JobRegistry:
    """Accepts, cancels and shows jobs.

    Args:
        store: The open store.
        handlers: The handler of each task type.
        limits: What the settings allow.
        metrics: What is counted.
        outboxes: What transitions owe.
        observers: Who is told of jobs that have ended.
        gate: Called with a number of jobs before they are accepted; raises a ServiceError to refuse.
    """

    def __init__(
        self,
        store: JobStore,
        handlers: Mapping[str, Handler],
        limits: Limits,
        *,
        metrics: Metrics,
        outboxes: Iterable[Outbox] = (),
        observers: Iterable[Observer] = (),
        gate: Callable[[int], None] | None = None,
    ) -> None:
        self._store = store
        self._telling = Telling(metrics, outboxes, observers)
        self._live = LiveJobs(store, self._telling)
        self._dispatcher = Dispatcher(self._live, handlers, limits, metrics)
        self._acceptance = Acceptance(store, self._live, self._dispatcher, limits, gate)

    # --- life ---

    async def start(self) -> None:
        """Take up what the store holds, then start jobs."""
        newest = self._store.last_job_id()
        if newest is not None:
            self._acceptance.resume_after(newest)
        for job in list(self._store.active_jobs()):
            self._dispatcher.recover(self._live.restore(job))
        await self._store.flush()
        self._dispatcher.start()

    async def drain(self, grace: float, hurry: asyncio.Event | None = None) -> None:
        """Accept and start nothing more, answer all waiters, and give running jobs time to end.

        What still runs after `grace` seconds, or once `hurry` is set, is stopped and goes back into the queue, to be
        started again by the next process. So does what the store cannot commit in time.
        """
        self._live.close()
        await self._dispatcher.drain(grace, hurry)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._store.flush(), _FLUSH_SECONDS)

    @property
    def draining(self) -> bool:
        """Whether nothing is accepted any more."""
        return self._live.closed

    @property
    def running(self) -> int:
        """Jobs that hold a slot."""
        return self._dispatcher.running

    @property
    def queued(self) -> int:
        """Jobs that wait for a slot, or for their time."""
        return self._live.pending

    @property
    def unfinished(self) -> int:
        """Jobs, accepted or about to be, whose end is not committed."""
        return self._live.unfinished

    @property
    def ended(self) -> int:
        """Jobs that have ended since the store is there."""
        return self._live.ended

    @property
    def feed(self) -> Feed:
        """The transitions of all jobs, live."""
        return self._telling.feed

    def oldest_pending_age(self) -> float:
        """How long the oldest pending job has been waiting, in seconds; 0 without one."""
        return self._live.oldest_pending_age()

    # --- read ---

    def get(self, job_id: str) -> Job:
        """A job as last committed; raises JobNotFound."""
        return self._live.get(job_id)

    def position(self, job: Job) -> int | None:
        """About how many starts from now a pending job's will be; None for any other."""
        return self._dispatcher.position(job) if job.status is JobStatus.PENDING else None

    async def wait(self, job_id: str, timeout: float) -> Job:
        """Wait until the job's end is committed, at most `timeout` seconds, and return it as it stands then."""
        return await self._live.wait(job_id, timeout)

    def committed_at(self, job_id: str) -> float | None:
        """When the end of a job that ended lately was committed, on the clock of the event loop."""
        return self._live.committed_at(job_id)

    def events(self, job_id: str, after: int = 0) -> list[Event]:
        """The job's committed events with higher ids than `after`."""
        return self._live.events(job_id, after)

    def follow(self, job_id: str, after: int = 0) -> AsyncIterator[Event]:
        """The job's events with higher ids than `after`, as they are committed, until its terminal one."""
        return self._live.follow(job_id, after)

    # --- change ---

    def forget(self, job_id: str) -> None:
        """An ended job has left the store."""
        self._live.forget(job_id)

    async def submit(
        self, tasks: Sequence[Task], idempotency: Idempotency | None = None, replay_of: str | None = None
    ) -> Accepted:
        """Make jobs of tasks, all or none; returns once they are committed.

        Raises:
            QueueFull, InvalidBatch, Draining, StoreUnavailable, IdempotencyConflict: Nothing was accepted.
        """
        return await self._acceptance.submit(tasks, idempotency, replay_of)

    async def replay(self, job_id: str, idempotency: Idempotency | None = None) -> Accepted:
        """Submit the task of an ended job again; raises JobNotFinished while it has not ended."""
        job = self.get(job_id)
        if not job.terminal:
            raise JobNotFinished
        task = Task(job.type, job.task, job.shown_task, job.options)
        return await self.submit([task], idempotency, replay_of=job_id)

    async def cancel(self, job_id: str) -> None:
        """Cancel a job unless it has ended; the request is committed when this returns, the end may follow.

        Raises:
            JobNotFound: There is no such job.
            StoreUnavailable: The request is not on disk; it may still take effect.
        """
        entry = self._live.find(job_id)
        if entry is None:
            self.get(job_id)
            return
        if not self._store.writable:
            raise StoreUnavailable
        if entry.job.status is JobStatus.PENDING:
            self._dispatcher.remove(entry.job)
            self._live.end(entry, CANCELLED)
        elif not entry.job.terminal and not entry.job.cancel_requested:
            self._request_cancel(entry)
        if entry.write is not None:
            await entry.write.settled()

    def _request_cancel(self, entry: Entry) -> None:
        stop = None if entry.attempt is None else partial(entry.attempt.stop, StopReason.CANCELLED)
        self._live.save(entry, entry.job.evolve(cancel_requested=True), stop)
