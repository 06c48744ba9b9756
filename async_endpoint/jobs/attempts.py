"""One attempt: a handler at work on a job, from the slot it takes until its outcome is known."""

from __future__ import annotations

import asyncio
import logging
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from ..errors import JobError, RetryableResult
from .clock import now_ms
from .jsontext import encode
from .model import Job, JobStatus, clean_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .database import Change

logger = logging.getLogger(__name__)

_UNNAMED_ERROR = "handler-error"
"""The error code of a handler that names none."""

CLEAN_UP_SECONDS = 5.0
"""How long a handler may clean up after it was told to stop; then its slot is free whatever it does."""


class StopReason(IntEnum):
    """Why an attempt was told to stop; of two reasons the higher counts."""

    INTERRUPTED = 1
    TIMEOUT = 2
    CANCELLED = 3


class Outcome(NamedTuple):
    """How an attempt ended. `result` is JSON text."""

    status: JobStatus
    result: bytes | None = None
    error: str | None = None
    code: str | None = None
    retryable: bool = False
    retry_after_ms: int | None = None
    interrupted: bool = False


CANCELLED = Outcome(JobStatus.CANCELLED, error="The job was cancelled.", code="cancelled")


class Reports(Protocol):
    """Who takes what a handler tells while it works."""

    def progress(self, job_id: str, fraction: float | None, message: str | None) -> None:
        """How far it is."""

    def log(self, job_id: str, level: str, message: str) -> None:
        """A line of its log."""

    def put(self, job_id: str, changes: Iterable[Change]) -> None:
        """Something it stores; committed with the end of the job at the latest."""


class Handler(Protocol):
    """What the registry knows of the code that runs a task type."""

    @property
    def effect_free(self) -> bool:
        """Whether it may start before its job's acceptance is on disk."""

    @property
    def instant(self) -> bool:
        """Whether it takes no time, so that `run_now` may execute it; implies `effect_free`."""

    @property
    def on_interrupt(self) -> Literal["retry", "fail"]:
        """What becomes of a job that ran when the process ended."""

    async def run(self, attempt: Attempt) -> object:
        """Execute the attempt's task and return its result, which must be JSON."""

    def run_now(self, attempt: Attempt) -> object:
        """The same, for an instant handler."""


class Attempt:
    """One run of a job's handler: as an asyncio Task, or on the spot if it is instant.

    Args:
        job: The job, as it stands while this attempt runs.
        handler: What to run.
        reports: Takes progress and log lines.
        timeout_ms: Ends the attempt when it takes longer.
        max_result_bytes: A longer result fails the job.
        on_end: Called once with the outcome.
        params: What the handler is given, if that was made already.
    """

    def __init__(
        self,
        job: Job,
        handler: Handler,
        reports: Reports,
        *,
        timeout_ms: int | None,
        max_result_bytes: int,
        on_end: Callable[[Attempt, Outcome], None],
        params: object = None,
    ) -> None:
        self.job = job
        self.reports = reports
        self.params = params
        self.deadline: int | None = None
        self.stop_reason: StopReason | None = None
        self._handler = handler
        self._timeout_ms = timeout_ms
        self._max_result_bytes = max_result_bytes
        self._on_end = on_end
        self._begun = False
        self._ended = False
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Let the handler run, unless the attempt was stopped before."""
        if self._ended:
            return
        if self._timeout_ms is not None:
            self.deadline = now_ms() + self._timeout_ms
            self._timer = self._loop.call_later(self._timeout_ms / 1000, self.stop, StopReason.TIMEOUT)
        self._task = self._loop.create_task(self._run(), name=f"job {self.job.id} ({self.job.type})")

    def run_now(self) -> None:
        """Run an instant handler on the spot."""
        try:
            value = self._handler.run_now(self)
        except BaseException as exc:
            self._end(self._raised(exc))
        else:
            self._end(self._completed(value))

    def stop(self, reason: StopReason) -> None:
        """Tell the handler to end; after `CLEAN_UP_SECONDS` the attempt has ended whatever it does."""
        if self._ended:
            return
        first = self.stop_reason is None
        self.stop_reason = reason if first else max(reason, self.stop_reason or reason)
        if not first:
            return
        self._cancel_timer()
        if self._task is not None:
            self._task.cancel()
        if self._begun:
            self._timer = self._loop.call_later(CLEAN_UP_SECONDS, self._give_up)
        else:
            self._end(self._stopped())

    async def _run(self) -> None:
        self._begun = True
        outcome = await self._outcome()
        if self._ended:
            logger.warning("job=%s type=%s handler ended after it was given up", self.job.id, self.job.type)
        else:
            self._cancel_timer()
            self._end(outcome)

    def _give_up(self) -> None:
        logger.warning("job=%s type=%s handler ignores that it was stopped", self.job.id, self.job.type)
        self._end(self._stopped())

    def _end(self, outcome: Outcome) -> None:
        self._ended = True
        self._on_end(self, outcome)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def _outcome(self) -> Outcome:
        try:
            value = await self._handler.run(self)
        except BaseException as exc:
            if asyncio.current_task(self._loop) is not self._task:
                raise  # it does not run: it is thrown away, together with its loop
            return self._stopped() if self.stop_reason is not None else self._raised(exc)
        return self._stopped() if self.stop_reason is not None else self._completed(value)

    def _raised(self, exc: BaseException) -> Outcome:
        if isinstance(exc, asyncio.CancelledError):
            return _failed("The handler cancelled itself.")
        if isinstance(exc, SystemExit | KeyboardInterrupt):
            return _failed(f"The handler tried to end the process: {exc!r}")
        if isinstance(exc, RetryableResult):
            return self._completed(exc.result)._replace(retryable=True, retry_after_ms=exc.retry_after_ms)
        if isinstance(exc, JobError):
            return _failed(_message(exc), exc.code)._replace(
                retryable=exc.retryable, retry_after_ms=exc.retry_after_ms
            )
        logger.warning("job=%s type=%s handler raised", self.job.id, self.job.type, exc_info=exc)
        return _failed(f"{type(exc).__name__}: {_message(exc)}")._replace(retryable=True)

    def _stopped(self) -> Outcome:
        if self.stop_reason is StopReason.CANCELLED:
            return CANCELLED
        if self.stop_reason is StopReason.TIMEOUT:
            error = f"The attempt took longer than {self._timeout_ms} ms."
            return _failed(error, "timeout")._replace(retryable=True)
        return _failed("The service stopped while the job ran.", "interrupted")._replace(interrupted=True)

    def _completed(self, value: object) -> Outcome:
        try:
            result = encode(value)
        except (TypeError, ValueError, RecursionError) as exc:
            return _failed(f"The handler's result cannot be written as JSON: {_message(exc)}")
        if len(result) > self._max_result_bytes:
            error = f"The result has {len(result)} bytes; maxResultBytes allows {self._max_result_bytes}."
            return _failed(error, "result-too-large")
        return Outcome(JobStatus.COMPLETED, result)


def _failed(error: str, code: str = _UNNAMED_ERROR) -> Outcome:
    return Outcome(JobStatus.FAILED, error=clean_error(error), code=clean_error(str(code)) or _UNNAMED_ERROR)


def _message(exc: BaseException) -> Any:
    try:
        return str(exc)
    except Exception:
        return "(an error without a readable message)"
