"""A job's state in the words of an Actor run (published schema ActorJobStatus)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...jobs.model import JobStatus

if TYPE_CHECKING:
    from ...jobs.model import Job

RunStatus = Literal[
    "READY", "RUNNING", "SUCCEEDED", "FAILED", "TIMING-OUT", "TIMED-OUT", "ABORTING", "ABORTED"
]

RUN_STATUSES: frozenset[str] = frozenset(
    {"READY", "RUNNING", "SUCCEEDED", "FAILED", "TIMING-OUT", "TIMED-OUT", "ABORTING", "ABORTED"}
)
TERMINAL_RUN_STATUSES = frozenset({"SUCCEEDED", "FAILED", "TIMED-OUT", "ABORTED"})


def run_status(job: Job, now: int, timeout_ms: int | None) -> RunStatus:
    """The run's status at the time `now` (milliseconds since the epoch).

    A run that waits for another attempt stays RUNNING: a run never goes back to READY. TIMING-OUT is the
    short time in which the handler of the last attempt cleans up after its timeout.

    Args:
        job: The run's newest job.
        now: The time.
        timeout_ms: The timeout of an attempt of a job that has none of its own.
    """
    final = final_status(job)
    if final is not None:
        return final
    if job.cancel_requested:
        return "ABORTING"
    if _past_last_timeout(job, now, job.options.timeout_ms or timeout_ms):
        return "TIMING-OUT"
    return "READY" if job.status is JobStatus.PENDING and job.attempt == 1 else "RUNNING"


def final_status(job: Job) -> RunStatus | None:
    """The status of a run that has ended; None before."""
    match job.status:
        case JobStatus.COMPLETED:
            return "SUCCEEDED"
        case JobStatus.CANCELLED:
            return "ABORTED"
        case JobStatus.FAILED:
            return "TIMED-OUT" if job.error_code == "timeout" else "FAILED"
    return None


def _past_last_timeout(job: Job, now: int, timeout_ms: int | None) -> bool:
    return (
        job.status is JobStatus.RUNNING
        and timeout_ms is not None
        and job.started_at is not None
        and now >= job.started_at + timeout_ms
        and job.tries >= job.options.retry.max_attempts
    )
