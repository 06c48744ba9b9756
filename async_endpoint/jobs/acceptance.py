"""Acceptance: how tasks become jobs. All of a submission are accepted, in one commit, or none."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import Draining, InvalidBatch, JobNotFound, QueueFull, StoreUnavailable
from .attempts import StopReason
from .clock import JobIds, from_datetime, now_ms
from .entry import Entry
from .idempotency import Idempotency, KeyBook
from .model import DEFAULT_OPTIONS, Job, JobOptions, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .commits import Write
    from .database import Change
    from .dispatcher import Dispatcher, Limits
    from .live import LiveJobs
    from .store import JobStore
    from .telling import Step

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


class Acceptance:
    """Makes jobs of tasks.

    Args:
        store: The open store.
        live: Where the jobs begin to live.
        dispatcher: Who starts them.
        limits: What the settings allow.
        gate: Called with a number of jobs before they are accepted; raises a ServiceError to refuse.
    """

    def __init__(
        self,
        store: JobStore,
        live: LiveJobs,
        dispatcher: Dispatcher,
        limits: Limits,
        gate: Callable[[int], None] | None,
    ) -> None:
        self._store = store
        self._live = live
        self._dispatcher = dispatcher
        self._limits = limits
        self._gate = gate
        self._loop = asyncio.get_running_loop()
        self._ids = JobIds()
        self._keys = KeyBook(store)

    def resume_after(self, job_id: str) -> None:
        """Give every further job an id that sorts after this one."""
        self._ids.resume_after(job_id)

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
        if self._live.pending < _KEPT_PARAMS:
            for entry, task in zip(entries, tasks, strict=True):
                entry.params = task.params
        write = self._accept(entries, idempotency)
        await self._begin(entries)
        await write.settled()
        return Accepted(jobs, replayed=False)

    def _kept(self, job_ids: Iterable[str]) -> Iterator[Job]:
        """The jobs that have not left the store; a key goes with its first job, later ones of a batch may go before."""
        for job_id in job_ids:
            with suppress(JobNotFound):
                yield self._live.get(job_id)

    def _admit(self, tasks: Sequence[Task]) -> None:
        if self._live.closed:
            raise Draining
        if not self._store.writable:
            raise StoreUnavailable
        if self._gate is not None:
            self._gate(len(tasks))
        if self._live.pending + len(tasks) > self._limits.max_queued:
            self._admit_beyond_the_queue(tasks)

    def _admit_beyond_the_queue(self, tasks: Sequence[Task]) -> None:
        """Those that start at once take no place in the queue."""
        count, limits = len(tasks), self._limits
        starting = self._dispatcher.starting(self._live.pending, [task.options for task in tasks])
        if self._live.pending + count - starting <= limits.max_queued:
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
