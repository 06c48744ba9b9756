"""The dispatcher: takes a slot of the Semaphore, starts the next job, frees the slot when its attempt has ended."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from .attempts import CANCELLED, CLEAN_UP_SECONDS, Attempt, Handler, Outcome, StopReason
from .clock import iso, now_ms
from .model import Job, JobStatus
from .queue import JobQueue
from .retries import MAX_INTERRUPTIONS, gap_ms, may_retry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .entry import Entry
    from .live import LiveJobs
    from .metrics import Metrics
    from .model import JobOptions


class Limits(NamedTuple):
    """What the settings allow; sizes in bytes, `timeout_ms` per attempt."""

    max_concurrent: int = 5
    max_queued: int = 10_000
    max_result_bytes: int = 1 << 20
    timeout_ms: int | None = None


class Dispatcher:
    """Runs pending jobs, at most `limits.max_concurrent` at once.

    Args:
        live: The jobs.
        handlers: The handler of each task type.
        limits: What the settings allow.
        metrics: What is counted.
    """

    def __init__(
        self, live: LiveJobs, handlers: Mapping[str, Handler], limits: Limits, metrics: Metrics
    ) -> None:
        self.running = 0
        self._live = live
        self._handlers = handlers
        self._limits = limits
        self._metrics = metrics
        self._queue = JobQueue()
        self._slots = asyncio.Semaphore(limits.max_concurrent)
        self._work = asyncio.Event()
        self._quiet = asyncio.Event()
        self._starts: deque[float] = deque(maxlen=100)
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to start jobs."""
        self._task = asyncio.create_task(self._dispatch(), name="dispatcher")

    async def drain(self, grace: float, hurry: asyncio.Event | None) -> None:
        """Start nothing more; after the grace stop what still runs and put it back into the queue."""
        if self._task is not None:
            self._task.cancel()
        await self._until_quiet(grace, hurry)
        for entry in self._live:
            if entry.attempt is not None:
                entry.attempt.stop(StopReason.INTERRUPTED)
        await self._until_quiet(CLEAN_UP_SECONDS + 1, None)

    def handler(self, job: Job) -> Handler:
        """The code that runs the job."""
        return self._handlers[job.type]

    def starting(self, pending: int, new: Iterable[JobOptions]) -> int:
        """How many of so many pending jobs, and of new ones with these options, start at once."""
        free = self._limits.max_concurrent - self.running
        return min(free, pending - self._queue.held + self._queue.startable(new))

    def position(self, job: Job) -> int:
        """About how many starts from now a pending job's will be, counted from 1."""
        return self._queue.position(job)

    def seconds_per_start(self) -> float:
        """The mean gap between the last starts, or the present one if that is longer; a guess without any."""
        if len(self._starts) < 2:
            return 10.0
        now = self._loop.time()
        return min(max((now - self._starts[0]) / len(self._starts), now - self._starts[-1]), 3600.0)

    # --- what waits ---

    async def begin(self, entry: Entry) -> None:
        """Start a new job on the spot if there is a slot and nobody is before it, else let it wait for its start."""
        job = entry.job
        waits = job.next_attempt_at is not None or job.options.concurrency_key is not None
        if waits or self._queue.ready or self._slots.locked():
            self.enqueue(entry, job.created_at)
        else:
            await self._slots.acquire()  # which is immediate
            self._start(entry, on_the_spot=True)

    def enqueue(self, entry: Entry, now: int) -> None:
        """Let a pending job wait for its start; `now` is the time by the clock that its times were taken from."""
        job = entry.job
        self._queue.push(job, now)
        self._work.set()
        if job.options.expire_ms is not None and job.started_at is None:
            remaining = job.created_at + job.options.expire_ms - now
            if remaining <= 0:
                self._expire(entry)
            else:
                entry.expiry = self._loop.call_later(remaining / 1000, self._expire, entry)

    def remove(self, job: Job) -> None:
        """A pending job will not start."""
        self._queue.remove(job)
        self._work.set()

    def recover(self, entry: Entry) -> None:
        """Take up a job that the store holds from an earlier process."""
        handler = self._handlers.get(entry.job.type)
        if handler is None:
            error = f"There is no task type {entry.job.type!r} any more."
            self._live.end(entry, _failure(error, "handler-error"))
        elif entry.job.status is JobStatus.PENDING:
            self.enqueue(entry, now_ms())
        elif entry.job.cancel_requested:
            self._live.end(entry, CANCELLED)
        else:
            self._interrupted(entry, handler, interruptions=entry.job.interruptions + 1)

    def _expire(self, entry: Entry) -> None:
        if entry.job.status is JobStatus.PENDING:
            self.remove(entry.job)
            error = f"The job had not started after {entry.job.options.expire_ms} ms."
            self._live.end(entry, _failure(error, "expired"))

    # --- what runs ---

    async def _dispatch(self) -> None:
        while True:
            self._queue.promote()
            if not self._queue.ready:
                await self._until_work()
                continue
            await self._slots.acquire()
            self._queue.promote()
            job_id = self._queue.pop()
            if job_id is None:
                self._slots.release()
            else:
                self._start(self._live[job_id])

    async def _until_work(self) -> None:
        self._work.clear()
        wake = self._queue.next_wake()
        timer = None if wake is None else self._loop.call_later(wake, self._work.set)
        try:
            await self._work.wait()
        finally:
            if timer is not None:
                timer.cancel()

    def _start(self, entry: Entry, *, on_the_spot: bool = False) -> None:
        """Start a job that has a slot; an instant one has ended when this returns if that is `on_the_spot`."""
        self.running += 1
        self._starts.append(self._loop.time())
        entry.cancel_expiry()
        waiting, handler, now = entry.job, self.handler(entry.job), now_ms()
        if waiting.started_at is None:
            due = waiting.next_attempt_at or waiting.created_at
            self._metrics.queue_time.observe(max(0, now - due) / 1000)
        job = waiting.evolve(status=JobStatus.RUNNING, started_at=now, next_attempt_at=None, progress=None)
        attempt = entry.attempt = Attempt(
            job,
            handler,
            self._live,
            timeout_ms=job.options.timeout_ms or self._limits.timeout_ms,
            max_result_bytes=self._limits.max_result_bytes,
            on_end=partial(self._settle, entry),
            params=entry.params,
        )
        entry.params = None
        begin = attempt.run_now if on_the_spot and handler.instant else attempt.start
        if handler.on_interrupt == "fail":
            self._live.advance(entry, job, "started", then=begin)
        else:
            self._live.advance(entry, job, "started")
            begin()

    def _settle(self, entry: Entry, attempt: Attempt, outcome: Outcome) -> None:
        """The attempt has ended: free its slot, then end the job or let it wait for another."""
        self.running -= 1
        self._slots.release()
        self._queue.release(attempt.job)
        if self._queue.ready:
            self._work.set()
        if not self.running:
            self._quiet.set()
        entry.attempt = None
        if not self._live.has(entry):
            return
        job = entry.job
        self._metrics.run_time.observe(max(0, now_ms() - (job.started_at or 0)) / 1000)
        self._live.flush_reports(job.id)
        if job.cancel_requested and outcome.status is not JobStatus.COMPLETED:
            self._live.end(entry, CANCELLED)
        elif outcome.interrupted:
            self._interrupted(entry, self.handler(job), stops=job.stops + 1)
        elif may_retry(job, outcome) and not job.cancel_requested:
            gap = gap_ms(job, outcome)
            self._put_back(entry, gap, {}, error=outcome.error, errorCode=outcome.code)
        else:
            self._live.end(entry, outcome)

    def _interrupted(self, entry: Entry, handler: Handler, **counted: int) -> None:
        """The process ended, or ends, while the job ran."""
        if handler.on_interrupt == "fail" or counted.get("interruptions", 0) >= MAX_INTERRUPTIONS:
            self._live.end(entry, _failure("The service stopped while the job ran.", "interrupted"))
        else:
            self._put_back(entry, 0, counted)

    def _put_back(self, entry: Entry, gap: int, counted: Mapping[str, int], **details: Any) -> None:
        now = now_ms()
        job = entry.job.evolve(
            status=JobStatus.PENDING,
            attempt=entry.job.attempt + 1,
            next_attempt_at=now + gap,
            **counted,
        )
        self._live.advance(entry, job, "retrying", nextAttemptAt=iso(now + gap), **details)
        self._queue.push(job, now)
        self._work.set()

    async def _until_quiet(self, seconds: float, hurry: asyncio.Event | None) -> None:
        if not self.running:
            return
        self._quiet.clear()
        waits = [asyncio.ensure_future(event.wait()) for event in (self._quiet, hurry) if event is not None]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


def _failure(error: str, code: str) -> Outcome:
    return Outcome(JobStatus.FAILED, error=error, code=code)
