"""Which runs there are: questions to the store's index of jobs.

A run that was resurrected has several jobs; the newest of them stands for it, and the others are not listed.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import JobNotFound
from .errors import ApiError, not_found
from .models import DEFAULT_ORIGIN
from .statuses import RUN_STATUSES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ...jobs.model import Job
    from ..backend import Backend

_CONDITIONS = {
    "READY": "status = 'pending' AND attempt = 1 AND cancel IS NULL",
    "RUNNING": "(status = 'running' OR (status = 'pending' AND attempt > 1)) AND cancel IS NULL",
    "SUCCEEDED": "status = 'completed'",
    "FAILED": "status = 'failed' AND code IS NOT 'timeout'",
    "TIMED-OUT": "status = 'failed' AND code = 'timeout'",
    "ABORTING": "status IN ('pending', 'running') AND cancel = 1",
    "ABORTED": "status = 'cancelled'",
    "TIMING-OUT": "0",
}
"""What a job's columns say for each status of a run. The seconds in which one is TIMING-OUT count as RUNNING."""

_NEWEST_OF_ITS_RUN = (
    "NOT EXISTS (SELECT 1 FROM jobs AS later WHERE later.run = coalesce(jobs.run, jobs.key) "
    "AND later.key > jobs.key)"
)


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs are meant: of an Actor (task type), of a task (preset), or all; with one of the statuses.

    Attributes:
        origin: How the run was started: `API`, or `WEBHOOK` by a webhook in.
    """

    actor: str | None = None
    task: str | None = None
    statuses: tuple[str, ...] = ()
    started_after: int | None = None
    started_before: int | None = None
    origin: str | None = None

    def where(self) -> tuple[str, tuple[Any, ...]]:
        """The SQL condition and its parameters."""
        bounds = {
            "type = ?": self.actor,
            "preset = ?": self.task,
            "created >= ?": self.started_after,
            "created <= ?": self.started_before,
            f"coalesce(json_extract(head, '$.notes.origin'), '{DEFAULT_ORIGIN}') = ?": self.origin,
        }
        chosen = {condition: value for condition, value in bounds.items() if value is not None}
        statuses = " OR ".join(f"({_CONDITIONS[status]})" for status in self.statuses)
        parts = [_NEWEST_OF_ITS_RUN, *chosen, *([f"({statuses})"] if statuses else [])]
        return " AND ".join(parts), tuple(chosen.values())


def parse_statuses(text: str) -> tuple[str, ...]:
    """One status or several, separated by commas.

    Raises:
        ApiError: 400 `invalid-parameter` for a status that no run can have.
    """
    statuses = tuple(part.strip() for part in text.split(",") if part.strip())
    unknown = [status for status in statuses if status not in RUN_STATUSES]
    if unknown:
        raise ApiError(400, "invalid-parameter", f'Parameter "status" cannot be {unknown[0][:50]!r}.')
    return statuses


def find_run(backend: Backend, run_id: str) -> Job:
    """The job that stands for a run.

    Raises:
        ApiError: 404 `record-not-found`.
    """
    newest = backend.store.last_job_of_run(run_id) or run_id
    try:
        job = backend.registry.get(newest)
    except JobNotFound:
        raise not_found("Actor run") from None
    return _unless_superseded(job, run_id)


def _unless_superseded(job: Job, run_id: str) -> Job:
    """A job that resurrected a run has no run of its own."""
    if (job.notes or {}).get("run", job.id) != run_id:
        raise not_found("Actor run")
    return job


async def count_runs(backend: Backend, runs: RunFilter) -> int:
    """How many runs match."""
    where, parameters = runs.where()
    [(count,)] = await backend.store.select(f"SELECT count(*) FROM jobs WHERE {where}", parameters)  # noqa: S608
    return int(count)


async def list_runs(backend: Backend, runs: RunFilter, offset: int, limit: int, *, desc: bool) -> list[Job]:
    """Some of the runs that match, in order of creation."""
    where, parameters = runs.where()
    order = "DESC" if desc else "ASC"
    rows = await backend.store.select(
        f"SELECT key FROM jobs WHERE {where} ORDER BY key {order} LIMIT ? OFFSET ?",  # noqa: S608
        (*parameters, limit, offset),
    )
    return list(_known(backend, rows))


def _known(backend: Backend, rows: list[tuple[str]]) -> Iterator[Job]:
    for (key,) in rows:
        # Retention may have taken a job away since.
        with suppress(JobNotFound):
            yield backend.registry.get(key)


async def last_run(backend: Backend, runs: RunFilter) -> Job:
    """The newest run that matches.

    Raises:
        ApiError: 404 `record-not-found` when there is none.
    """
    jobs = await list_runs(backend, runs, 0, 1, desc=True)
    if not jobs:
        raise not_found("Actor run")
    return jobs[0]
