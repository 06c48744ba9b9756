"""A job as an Actor run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic_core import from_json

from ...jobs.clock import iso, now_ms
from ...jobs.model import JobStatus
from .models import (
    BUILD_TAG,
    DEFAULT_ORIGIN,
    DefaultStorage,
    Run,
    RunListItem,
    RunMeta,
    RunOptions,
    RunStats,
    StorageIds,
)
from .statuses import run_status

if TYPE_CHECKING:
    from ...jobs.model import Job


def run_id(job: Job) -> str:
    """The id of the run: that of its first job, also after it was resurrected."""
    return str((job.notes or {}).get("run", job.id))


class Surroundings(NamedTuple):
    """What a run shows beside its job: where the service is reached, and the timeout of jobs without their own."""

    container_url: str | None
    timeout_ms: int | None


def list_item(job: Job, surroundings: Surroundings) -> RunListItem:
    """The run as lists show it."""
    return RunListItem(**_common(job, surroundings))


def run(job: Job, surroundings: Surroundings) -> Run:
    """The run as a whole."""
    ended, url = job.terminal, surroundings.container_url
    storage = DefaultStorage(default=run_id(job))
    where = {} if url is None else {"container_url": url}
    return Run(
        **_common(job, surroundings),
        **where,
        status_message=_status_message(job),
        is_status_message_terminal=ended,
        stats=_stats(job),
        storage_ids=StorageIds(datasets=storage, key_value_stores=storage),
        options=_options(job, job.options.timeout_ms or surroundings.timeout_ms or 0),
        exit_code=(0 if job.status is JobStatus.COMPLETED else 1) if ended else None,
    )


def _common(job: Job, surroundings: Surroundings) -> dict[str, Any]:
    notes = job.notes or {}
    identity = run_id(job)
    return {
        "id": identity,
        "act_id": job.type,
        "actor_task_id": notes.get("preset"),
        "status": run_status(job, now_ms(), surroundings.timeout_ms),
        "started_at": iso(job.created_at),
        "finished_at": None if job.finished_at is None else iso(job.finished_at),
        "meta": RunMeta(origin=notes.get("origin", DEFAULT_ORIGIN)),
        "default_key_value_store_id": identity,
        "default_dataset_id": identity,
    }


def _status_message(job: Job) -> str | None:
    if job.error is not None:
        return job.error
    return from_json(job.progress)["message"] if job.progress is not None else None


def _stats(job: Job) -> RunStats:
    started = job.created_at if job.started_at is None else job.started_at
    duration = max(0, (job.finished_at or now_ms()) - started)
    return RunStats(
        input_body_len=len(job.task),
        restart_count=job.attempt - 1 - job.interruptions,
        migration_count=job.interruptions,
        resurrect_count=(job.notes or {}).get("resurrections", 0),
        run_time_secs=duration / 1000,
        duration_millis=duration,
    )


def _options(job: Job, timeout_ms: int) -> RunOptions:
    asked = (job.notes or {}).get("runOptions", {})
    return RunOptions.model_validate(
        {
            "build": BUILD_TAG,
            "timeoutSecs": -(-timeout_ms // 1000),
            "restartOnError": job.options.retry.max_attempts > 1,
            **asked,
        }
    )
