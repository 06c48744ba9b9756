"""Starting runs: of an Actor (a task type) or of an Actor task (a preset)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import InvalidTask
from ...jobs.acceptance import Task
from ...jobs.model import parse_task
from ..backend import BACKEND
from ..references import references, resolve
from ..requests import read_body
from .errors import ApiError, not_found
from .inputs import merge_task, read_input, run_options
from .run_index import RunFilter
from .webhooks import parse_webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import web

    from ...jobs.model import Job
    from ..backend import Backend


class Runnable(NamedTuple):
    """What a path names that can be run.

    Attributes:
        id: The task type's or the preset's name.
        base: The task that a run's input goes over.
        preset: The preset's name, when it is one.
    """

    id: str
    base: Mapping[str, Any]
    preset: str | None = None

    @property
    def runs(self) -> RunFilter:
        """Its runs."""
        return RunFilter(task=self.preset) if self.preset else RunFilter(actor=self.id)


def find_actor(backend: Backend, actor_id: str) -> Runnable:
    """The task type that an Actor id means: `name`, or `anyone~name`.

    Raises:
        ApiError: 404 `record-not-found`.
    """
    name = _own_name(actor_id)
    if name not in backend.catalog.types:
        raise not_found("Actor")
    return Runnable(name, {"type": name})


def find_task(backend: Backend, task_id: str) -> Runnable:
    """The preset that an Actor task id means: `name`, or `anyone~name`.

    Raises:
        ApiError: 404 `record-not-found`.
    """
    name = _own_name(task_id)
    if name not in backend.presets:
        raise not_found("Actor task")
    preset = backend.presets[name]
    return Runnable(name, {"type": preset.type, **preset.task}, name)


def _own_name(identifier: str) -> str:
    return identifier.partition("~")[2] if "~" in identifier else identifier.partition("/")[2] or identifier


async def start_run(request: web.Request, runnable: Runnable) -> Job:
    """Accept the run that a request asks for; it is committed when this returns.

    Raises:
        ApiError, ServiceError: Nothing was accepted.
    """
    backend = request.app[BACKEND]
    given = {} if request.method == "GET" else await _read_input(request)
    task = _task(backend, runnable, given, request.query)
    notes = _notes(runnable, request.query)
    accepted = await backend.registry.submit([task._replace(notes=notes)])
    return accepted.jobs[0]


async def _read_input(request: web.Request) -> dict[str, Any]:
    return read_input(await read_body(request), request.headers.get("Content-Type", ""))


def task_again(backend: Backend, job: Job, query: Mapping[str, str]) -> Task:
    """The task of a job, with what the query asks for another run of it.

    Raises:
        ApiError, ServiceError: A parameter is not valid, or the task not any more.
    """
    before = parse_task(job)
    task = merge_task({"type": job.type, **before}, {}, query)
    if task.get("options") == before.get("options"):
        return Task(job.type, job.task, job.shown_task, job.options)
    return _parse(backend, task)


def _task(backend: Backend, runnable: Runnable, given: Mapping[str, Any], query: Mapping[str, str]) -> Task:
    """The preset with its references resolved, and over it those fields of the input that no reference takes."""
    parts = {"body": given, "headers": {}, "query": {}, "contentType": "application/json"}
    taken = [names[1:2] for names in references(runnable.base) if names[0] == "body"]
    rest = {} if [] in taken else {name: value for name, value in given.items() if [name] not in taken}
    return _parse(backend, merge_task(resolve(dict(runnable.base), parts), rest, query))


def _parse(backend: Backend, task: Mapping[str, Any]) -> Task:
    try:
        return backend.catalog.parse(task)
    except InvalidTask as error:
        raise ApiError(400, "invalid-input", str(error)) from None


def _notes(runnable: Runnable, query: Mapping[str, str]) -> dict[str, Any]:
    webhooks = parse_webhooks(query.get("webhooks", ""))
    notes: dict[str, Any] = {
        "preset": runnable.preset,
        "runOptions": run_options(query),
        "webhooks": [webhook.model_dump(by_alias=True, exclude_none=True) for webhook in webhooks],
    }
    return {name: value for name, value in notes.items() if value}
