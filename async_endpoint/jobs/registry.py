"""The registry: what the outside does with jobs.

A submission is committed to the store before it is answered. The dispatcher starts the jobs, `LiveJobs` shows them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import Draining, InvalidBatch, JobNotFinished, JobNotFound, QueueFull, StoreUnavailable
from .attempts import CANCELLED, Handler, StopReason
from .clock import JobIds, from_datetime, now_ms
from .dispatcher import Dispatcher, Limits
from .entry import Entry
from .idempotency import Idempotency, KeyBook
from .live import LiveJobs
from .model import DEFAULT_OPTIONS, Job, JobOptions, JobStatus
from .telling import Telling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from .commits import Write
    from .database import Change
    from .entry import Step
    from .events import Event
    from .feed import Feed
    from .metrics import Metrics
    from .store import JobStore
    from .telling import Observer, Outbox

_FLUSH_SECONDS = 10.0
"""How long the store may take to commit the last changes at the end."""

_KEPT_PARAMS = 1000
"""While more jobs than this wait, what handlers are given is made again from their tasks, to save memory."""


class Task(NamedTuple):
    """A validated task, ready to be a job.

    Attributes:
        text: The task as JSON.
        shown: The same with the secrets masked, where there are any.
        notes: See `Job`.
        params: What the handler is given, if that was made already.
    """

    type: str
    text: bytes
    shown: bytes | None = None
    options: JobOptions = DEFAULT_OPTIONS
    notes: Mapping[str, Any] | None = None
    params: object = None


class Accepted(NamedTuple):
    """What a submission came to: its jobs, and whether an earlier submission was found instead of a new one made."""

    jobs: list[Job]
    replayed: bool


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
        self._limits = limits
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._ids = JobIds()
        self._keys = KeyBook(store)
        self._telling = Telling(metrics, outboxes, observers)
        self._live = LiveJobs(store, self._telling)
        self._dispatcher = Dispatcher(self._live, handlers, limits, metrics)

    # --- life ---

    async def start(self) -> None:
        """Take up what the store holds, then start jobs."""
        newest = self._store.last_job_id()
        if newest is not None:
            self._ids.resume_after(newest)
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
        known = self._keys.find(idempotency) if idempotency is not None else None
        if known is not None:
            if known.write is not None:
                await known.write.settled()
            return Accepted(list(self._kept(known.job_ids)), replayed=True)
        self._admit(tasks)
        jobs = [self._new_job(task, replay_of) for task in tasks]
        if idempotency is not None:
            jobs[0] = jobs[0].evolve(idempotency=idempotency.stored_key)
        entries = [Entry(job) for job in jobs]
        if self.queued < _KEPT_PARAMS:
            for entry, task in zip(entries, tasks, strict=True):
                entry.params = task.params
        write = self._accept(entries, idempotency)
        await self._begin(entries)
        await write.settled()
        return Accepted(jobs, replayed=False)

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

    # --- acceptance ---

    def _kept(self, job_ids: Iterable[str]) -> Iterator[Job]:
        """The jobs that have not left the store; a key goes with its first job, later ones of a batch may go before."""
        for job_id in job_ids:
            with suppress(JobNotFound):
                yield self.get(job_id)

    def _admit(self, tasks: Sequence[Task]) -> None:
        if self.draining:
            raise Draining
        if not self._store.writable:
            raise StoreUnavailable
        if self._gate is not None:
            self._gate(len(tasks))
        if self.queued + len(tasks) > self._limits.max_queued:
            self._admit_beyond_the_queue(tasks)

    def _admit_beyond_the_queue(self, tasks: Sequence[Task]) -> None:
        """Those that start at once take no place in the queue."""
        count, limits = len(tasks), self._limits
        starting = self._dispatcher.starting(self.queued, [task.options for task in tasks])
        if self.queued + count - starting <= limits.max_queued:
            return
        if count > limits.max_queued + limits.max_concurrent:
            raise InvalidBatch(
                f"A batch of {count} tasks never fits: maxQueuedTasks lets {limits.max_queued} wait while "
                f"{limits.max_concurrent} run. Send smaller ones."
            )
        raise QueueFull(retry_after=self._dispatcher.seconds_per_start() * count)

    def _new_job(self, task: Task, replay_of: str | None) -> Job:
        now = now_ms()
        return Job(
            self._ids(),
            task.type,
            task.text,
            now,
            task.options,
            task.shown,
            next_attempt_at=_due(task.options, now),
            replay_of=replay_of,
            notes=task.notes,
        )

    def _accept(self, entries: list[Entry], idempotency: Idempotency | None) -> Write:
        changes: list[Change] = []
        steps: list[list[Step]] = []
        for entry in entries:
            owed, taken = self._live.created(entry)
            changes += owed
            steps.append(taken)
        if idempotency is not None:
            changes.append(self._keys.change(idempotency, [entry.job.id for entry in entries]))
        write = self._store.write(
            changes,
            partial(self._accepted, entries, steps, idempotency, self._loop.time()),
            undo=partial(self._withdraw, entries, idempotency),
        )
        if idempotency is not None:
            self._keys.reserve(idempotency, [entry.job.id for entry in entries], write)
        for entry in entries:
            entry.accept = entry.write = write
            self._live.add(entry)
        return write

    async def _begin(self, entries: list[Entry]) -> None:
        """Let effect-free jobs start before their acceptance is committed; those of a batch take their turns."""
        for entry in entries:
            if self._dispatcher.handler(entry.job).effect_free:
                if len(entries) == 1:
                    await self._dispatcher.begin(entry)
                else:
                    self._dispatcher.enqueue(entry, entry.job.created_at)

    def _accepted(
        self, entries: list[Entry], steps: list[list[Step]], idempotency: Idempotency | None, since: float
    ) -> None:
        """The acceptance is committed: show the jobs, and start those that waited for it.

        `since` is when it was written, on the clock of the event loop.
        """
        waited_ms = int((self._loop.time() - since) * 1000)
        if idempotency is not None:
            self._keys.settle(idempotency)
        for entry, taken in zip(entries, steps, strict=True):
            entry.accept = None
            self._live.publish(entry, taken)
            if not self._dispatcher.handler(entry.job).effect_free:
                self._dispatcher.enqueue(entry, entry.job.created_at + waited_ms)

    def _withdraw(self, entries: list[Entry], idempotency: Idempotency | None) -> None:
        """The acceptance could not be committed: these jobs never were."""
        if idempotency is not None:
            self._keys.settle(idempotency)
        for entry in entries:
            self._live.withdraw(entry)
            if entry.job.status is JobStatus.PENDING:
                self._dispatcher.remove(entry.job)
            if entry.attempt is not None:
                entry.attempt.stop(StopReason.CANCELLED)


def _due(options: JobOptions, now: int) -> int | None:
    """When a new job may start at the earliest; None for at once."""
    if options.delay_ms:
        return now + options.delay_ms
    if options.start_at is not None and from_datetime(options.start_at) > now:
        return from_datetime(options.start_at)
    return None
