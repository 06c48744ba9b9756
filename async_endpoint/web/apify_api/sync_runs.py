"""Synchronous runs: started, waited for, and answered with what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from ..backend import BACKEND
from . import datasets, run_model, stores
from .errors import ApiError
from .starting import Runnable, start_run
from .statuses import final_status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ...jobs.model import Job
    from ..backend import Backend

WAIT_SECONDS = 300


def run_sync(find: Callable[[Backend, str], Runnable]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Serve `…/run-sync`: 201 with the record that `outputRecordKey` names (`OUTPUT`), or with no body."""

    async def serve(request: web.Request, runnable_id: str) -> web.StreamResponse:
        backend = request.app[BACKEND]
        job = await _run(request, find(backend, runnable_id))
        key = request.query.get("outputRecordKey") or "OUTPUT"
        record = await stores.of_job(backend, job).records.get(key)
        return web.Response(status=201) if record is None else stores.record_response(record, 201)

    return serve


def run_sync_items(find: Callable[[Backend, str], Runnable]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Serve `…/run-sync-get-dataset-items`: 201 with the run's dataset items."""

    async def serve(request: web.Request, runnable_id: str) -> web.StreamResponse:
        backend = request.app[BACKEND]
        datasets.parse_export(request)  # refuses what is not valid before anything is started
        job = await _run(request, find(backend, runnable_id))
        return await datasets.send_items(request, datasets.of_job(backend, job), 201)

    return serve


async def _run(request: web.Request, runnable: Runnable) -> Job:
    """Start a run and wait for its success.

    Raises:
        ApiError: 408 when the run takes longer than an answer may take, and goes on; 400 when it fails.
    """
    backend = request.app[BACKEND]
    job = await start_run(request, runnable)
    job = await backend.registry.wait(job.id, WAIT_SECONDS)
    status = final_status(job)
    identity = run_model.run_id(job)
    if status is None:
        reason = (
            "The service is stopping before the Actor run has ended"
            if backend.registry.draining
            else f"Actor run exceeded the timeout of {WAIT_SECONDS} seconds for this API endpoint"
        )
        raise ApiError(408, "run-timeout-exceeded", f"{reason}; the run goes on (run ID: {identity})")
    if status != "SUCCEEDED":
        message = f"Actor run did not succeed (run ID: {identity}, status: {status})"
        raise ApiError(400, "run-failed", message)
    return job
