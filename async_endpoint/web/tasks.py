"""Jobs over HTTP: submit, read, wait, cancel, replay."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ..errors import BadRequest, FieldError, InvalidBatch, InvalidTask, ServiceError
from ..jobs.idempotency import Idempotency
from ..jobs.model import Job, JobStatus
from ..jobs.store import Filters
from .backend import BACKEND, Backend
from .requests import (
    idempotency_key,
    integer,
    preferences,
    query,
    read_json,
    read_json_list,
    read_optional_json,
    time_of,
)
from .responses import json_text, json_value
from .waiting import answer_when_done, clamped, heartbeat_seconds, snapshot, wait_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from ..jobs.acceptance import Accepted, Task

_BATCH = 1000
_CANCEL_SECONDS = 1.0
_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def submit(request: web.Request) -> web.StreamResponse:
    """POST /tasks."""
    prefer = preferences(request)
    heartbeat = heartbeat_seconds(request)
    accepted = await _submit_one(request)
    job = accepted.jobs[0]
    headers = replayed(accepted) | prefer.applied()
    if prefer.wait is None and heartbeat is None:
        return accepted_answer(request.app[BACKEND], job, headers)
    seconds = wait_seconds(request) if prefer.wait is None else clamped(request, prefer.wait)
    return await answer_when_done(request, job.id, seconds, headers=_location(request, job) | headers)


async def submit_batch(request: web.Request) -> web.Response:
    """POST /tasks/batch."""
    backend = request.app[BACKEND]
    key = idempotency_key(request)
    tasks = _parse_batch(backend, await read_json_list(request))
    accepted = await backend.registry.submit(tasks, _idempotency(backend, "batch", key, tasks))
    jobs = [{"jobId": job.id, "status": job.status, **_links(backend, job.id)} for job in accepted.jobs]
    return json_value({"jobs": jobs}, 202, replayed(accepted))


async def run_and_wait(request: web.Request) -> web.StreamResponse:
    """POST /run-and-wait."""
    seconds = wait_seconds(request)
    heartbeat_seconds(request)
    accepted = await _submit_one(request)
    job = accepted.jobs[0]
    headers = _location(request, job) | replayed(accepted)
    return await answer_when_done(request, job.id, seconds, headers=headers)


async def show(request: web.Request) -> web.StreamResponse:
    """GET /tasks/{jobId}."""
    backend, prefer = request.app[BACKEND], preferences(request)
    heartbeat_seconds(request)
    if prefer.wait is None:
        return snapshot(backend, job_of(request), headers=prefer.applied())
    job = job_of(request)
    seconds = clamped(request, prefer.wait)
    return await answer_when_done(request, job.id, seconds, unfinished=200, headers=prefer.applied())


async def wait(request: web.Request) -> web.StreamResponse:
    """POST /tasks/{jobId}/wait."""
    job = job_of(request)
    body = await read_optional_json(request)
    if body is not None and not isinstance(body, dict):
        raise BadRequest('The body must be a JSON object such as {"timeoutMs": 60000}.')
    return await answer_when_done(request, job.id, wait_seconds(request, (body or {}).get("timeoutMs")))


async def cancel(request: web.Request) -> web.Response:
    """POST /tasks/{jobId}/cancel and DELETE /tasks/{jobId}."""
    backend, job_id = request.app[BACKEND], job_of(request).id
    await backend.registry.cancel(job_id)
    job = await backend.registry.wait(job_id, _CANCEL_SECONDS)
    return snapshot(backend, job, 200 if job.terminal else 202)


async def replay(request: web.Request) -> web.Response:
    """POST /tasks/{jobId}/replay."""
    backend, job = request.app[BACKEND], job_of(request)
    backend.catalog.admit(job.type)
    key = idempotency_key(request)
    accepted = await backend.registry.replay(
        job.id, None if key is None else Idempotency("api", key, f"replay:{job.id}")
    )
    return accepted_answer(backend, accepted.jobs[0], replayed(accepted))


async def list_jobs(request: web.Request) -> web.Response:
    """GET /tasks."""
    status = query(request, "status")
    if status is not None and status not in list(JobStatus):
        raise BadRequest(f"status must be one of {', '.join(JobStatus)}, not {status[:50]!r}.")
    filters = Filters(
        status, query(request, "type"), time_of(request, "createdAfter"), time_of(request, "createdBefore")
    )
    limit = integer(request, "limit", 1, 1000) or 100
    page = await request.app[BACKEND].store.page(filters, limit, _read_cursor(query(request, "cursor")))
    cursor = to_json(page.next_key)
    return json_text(b'{"items":[%b],"nextCursor":%b}' % (b",".join(page.snapshots), cursor))


# --- shared with other routes ---


def job_of(request: web.Request) -> Job:
    """The job that the path names; raises JobNotFound."""
    return request.app[BACKEND].registry.get(request.match_info["jobId"])


def accepted_answer(backend: Backend, job: Job, headers: Mapping[str, str]) -> web.Response:
    """The 202 that is a job's receipt."""
    links = _links(backend, job.id)
    return json_value(
        {"jobId": job.id, "status": job.status, **links},
        202,
        {"Location": links["getUrl"], "Retry-After": "1", **headers},
    )


def _links(backend: Backend, job_id: str) -> dict[str, str]:
    url = backend.url(f"/tasks/{job_id}")
    return {
        "getUrl": url,
        "waitUrl": f"{url}/wait",
        "eventsUrl": f"{url}/events",
        "cancelUrl": f"{url}/cancel",
    }


def _location(request: web.Request, job: Job) -> dict[str, str]:
    return {"Location": request.app[BACKEND].url(f"/tasks/{job.id}")}


async def _submit_one(request: web.Request) -> Accepted:
    backend = request.app[BACKEND]
    key = idempotency_key(request)
    tasks = [backend.catalog.parse(await read_json(request))]
    return await backend.registry.submit(tasks, _idempotency(backend, "task", key, tasks))


def _idempotency(backend: Backend, kind: str, key: str | None, tasks: list[Task]) -> Idempotency | None:
    if key is None:
        return None
    return Idempotency("api", key, f"{kind}:{backend.catalog.digest(tasks)}")


def replayed(accepted: Accepted) -> dict[str, str]:
    """The header that says that an earlier submission was found."""
    return {"Idempotent-Replayed": "true"} if accepted.replayed else {}


def _parse_batch(backend: Backend, values: list[Any]) -> list[Task]:
    if not 1 <= len(values) <= _BATCH:
        raise InvalidBatch(f"A batch has 1 to {_BATCH} tasks; this one has {len(values)}.")
    tasks: list[Task] = []
    errors: list[FieldError] = []
    for index, value in enumerate(values):
        try:
            if isinstance(value, BadRequest):
                raise value
            tasks.append(backend.catalog.parse(value))
        except InvalidTask as exc:
            errors += [_at(index, fault) for fault in exc.errors]
        except BadRequest as exc:
            errors.append(FieldError(path=f"[{index}]", message=exc.detail))
        except ServiceError as exc:
            raise type(exc)(f"[{index}]: {exc.detail}") from None
    if errors:
        text = "; ".join(f"{fault['path']}: {fault['message']}" for fault in errors[:10])
        raise InvalidBatch(f"The batch is not valid; none of its tasks was accepted. {text}", errors)
    return tasks


def _at(index: int, fault: FieldError) -> FieldError:
    path = f"[{index}].{fault['path']}" if fault["path"] else f"[{index}]"
    return FieldError(path=path, message=fault["message"])


def _read_cursor(cursor: str | None) -> str | None:
    """A cursor is the id of the last job of a page; it need not exist any more."""
    if cursor is not None and not _JOB_ID.fullmatch(cursor):
        raise BadRequest("cursor must be the nextCursor of an earlier page.")
    return cursor
