"""Runs: start, list, read and wait, abort, resurrect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ...jobs.idempotency import Idempotency
from ..backend import BACKEND
from ..requests import time_of
from . import run_model
from .answers import data_response
from .errors import ApiError
from .inputs import run_options
from .items import parse_bool, parse_number, parse_seconds
from .models import Page
from .run_index import RunFilter, count_runs, find_run, last_run, list_runs, parse_statuses
from .starting import Runnable, find_actor, find_task, start_run, task_again

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from aiohttp import web

    from ...jobs.model import Job
    from ..backend import Backend

MAX_START_WAIT_SECONDS = 25
"""Clients give up on a start after 30 seconds and send it again, which would start a second run."""

MAX_READ_WAIT_SECONDS = 60
ABORT_WAIT_SECONDS = 1.0
MAX_RUNS_PER_PAGE = 1000

RunHandler = Callable[["web.Request", "Job"], "Awaitable[web.StreamResponse]"]


async def start_actor(request: web.Request, actor_id: str) -> web.Response:
    """POST acts/:id/runs."""
    return await _start(request, find_actor(request.app[BACKEND], actor_id))


async def start_task(request: web.Request, task_id: str) -> web.Response:
    """POST actor-tasks/:id/runs."""
    return await _start(request, find_task(request.app[BACKEND], task_id))


async def _start(request: web.Request, runnable: Runnable) -> web.Response:
    backend = request.app[BACKEND]
    seconds = parse_seconds(request.query, "waitForFinish")
    job = await start_run(request, runnable)
    job = await backend.registry.wait(job.id, min(seconds, MAX_START_WAIT_SECONDS))
    location = backend.url(f"/v2/actor-runs/{run_model.run_id(job)}")
    return _run_response(backend, job, 201, {"Location": location})


async def list_all(request: web.Request) -> web.Response:
    """GET actor-runs."""
    return await _list(request, RunFilter())


async def list_of_actor(request: web.Request, actor_id: str) -> web.Response:
    """GET acts/:id/runs."""
    return await _list(request, find_actor(request.app[BACKEND], actor_id).runs)


async def list_of_task(request: web.Request, task_id: str) -> web.Response:
    """GET actor-tasks/:id/runs."""
    return await _list(request, find_task(request.app[BACKEND], task_id).runs)


async def _list(request: web.Request, runs: RunFilter) -> web.Response:
    backend, query = request.app[BACKEND], request.query
    offset = parse_number(query, "offset")
    limit = min(parse_number(query, "limit") or MAX_RUNS_PER_PAGE, MAX_RUNS_PER_PAGE)
    desc = bool(parse_bool(query, "desc"))
    runs = replace(
        runs,
        statuses=parse_statuses(query.get("status", "")),
        started_after=time_of(request, "startedAfter"),
        started_before=time_of(request, "startedBefore"),
    )
    jobs = await list_runs(backend, runs, offset, limit, desc=desc)
    items = [run_model.list_item(job, _surroundings(backend)) for job in jobs]
    total = await count_runs(backend, runs)
    page = Page(total=total, offset=offset, limit=limit, desc=desc, count=len(items), items=items)
    return data_response(page.body())


# --- one run, named by its id or as the last one of an Actor or task ---


def of_run(handler: RunHandler) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Serve `actor-runs/:runId/…`."""

    async def serve(request: web.Request, run_id: str, *names: str) -> web.StreamResponse:
        return await handler(request, find_run(request.app[BACKEND], run_id), *names)

    return serve


def of_actor_run(handler: RunHandler) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Serve `acts/:id/runs/:runId/…`, the older form of `actor-runs/:runId/…`."""

    async def serve(request: web.Request, actor_id: str, run_id: str, *names: str) -> web.StreamResponse:
        actor = find_actor(request.app[BACKEND], actor_id)
        job = find_run(request.app[BACKEND], run_id)
        if job.type != actor.id:
            raise ApiError(404, "record-not-found", "Actor run was not found")
        return await handler(request, job, *names)

    return serve


def of_last_run(
    find: Callable[[Backend, str], Runnable], handler: RunHandler
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Serve `…/runs/last/…`; `status` and `origin` say which runs count."""

    async def serve(request: web.Request, runnable_id: str, *names: str) -> web.StreamResponse:
        backend, query = request.app[BACKEND], request.query
        runs = replace(
            find(backend, runnable_id).runs,
            statuses=parse_statuses(query.get("status", "")),
            origin=query.get("origin") or None,
        )
        return await handler(request, await last_run(backend, runs), *names)

    return serve


async def show(request: web.Request, job: Job) -> web.Response:
    """The run; with `waitForFinish` (seconds) not before it has ended or the time is over."""
    backend = request.app[BACKEND]
    seconds = parse_seconds(request.query, "waitForFinish")
    job = await backend.registry.wait(job.id, min(seconds, MAX_READ_WAIT_SECONDS))
    return _run_response(backend, job)


async def abort(request: web.Request, job: Job) -> web.Response:
    """Abort the run; one that has ended stays as it is."""
    backend = request.app[BACKEND]
    await backend.registry.cancel(job.id)
    return _run_response(backend, await backend.registry.wait(job.id, ABORT_WAIT_SECONDS))


async def resurrect(request: web.Request, job: Job) -> web.Response:
    """Run the task of an ended run again, as the same run.

    Raises:
        ApiError: 400 while the run has not ended.
    """
    backend = request.app[BACKEND]
    if not job.terminal:
        raise ApiError(400, "operation-not-allowed", "Only a finished run can be resurrected.")
    backend.catalog.admit(job.type)
    notes = dict(job.notes or {})
    notes |= {
        "run": run_model.run_id(job),
        "resurrections": notes.get("resurrections", 0) + 1,
        "runOptions": notes.get("runOptions", {}) | run_options(request.query),
    }
    task = task_again(backend, job, request.query)._replace(notes=notes)
    # Keyed by the job, so that a request sent twice resurrects it once.
    accepted = await backend.registry.submit([task], Idempotency("resurrect", job.id), replay_of=job.id)
    return _run_response(backend, accepted.jobs[0])


def _run_response(
    backend: Backend, job: Job, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    return data_response(run_model.run(job, _surroundings(backend)).body(), status, headers)


def _surroundings(backend: Backend) -> run_model.Surroundings:
    return run_model.Surroundings(backend.environment.container_url, backend.settings.job_timeout_ms)
