"""Actors (task types), Actor tasks (presets) and the one user, as clients read them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ...jobs.clock import iso
from ...masking import masked
from ..backend import BACKEND
from .answers import data_response, json_response
from .models import Actor, DefaultRunOptions, Task, TaskOptions, User
from .starting import Runnable, find_actor, find_task

if TYPE_CHECKING:
    from aiohttp import web

    from ..backend import Backend


async def show_actor(request: web.Request, actor_id: str) -> web.Response:
    """GET acts/:id."""
    backend = request.app[BACKEND]
    actor = find_actor(backend, actor_id)
    started = iso(backend.started_at)
    model = backend.catalog.types[actor.id].model
    shown = Actor(
        id=actor.id,
        name=actor.id,
        title=actor.id,
        description=model.__doc__,
        created_at=started,
        modified_at=started,
        default_run_options=DefaultRunOptions(timeout_secs=_timeout_secs(backend, None)),
    )
    return data_response(shown.body())


async def show_task(request: web.Request, task_id: str) -> web.Response:
    """GET actor-tasks/:id."""
    backend = request.app[BACKEND]
    task = find_task(backend, task_id)
    started = iso(backend.started_at)
    shown = Task(
        id=task.id,
        act_id=task.base["type"],
        name=task.id,
        created_at=started,
        modified_at=started,
        options=TaskOptions(timeout_secs=_timeout_secs(backend, task.base.get("options"))),
        input=_shown_input(task),
    )
    return data_response(shown.body())


async def show_task_input(request: web.Request, task_id: str) -> web.Response:
    """GET actor-tasks/:id/input, without the envelope."""
    return json_response(_shown_input(find_task(request.app[BACKEND], task_id)))


async def show_user(request: web.Request) -> web.Response:
    """GET users/me."""
    return data_response(User(created_at=iso(request.app[BACKEND].started_at)).body())


def _shown_input(task: Runnable) -> dict[str, Any]:
    """The preset's task, its secrets masked."""
    base = dict(task.base)
    return masked(base) or base


def _timeout_secs(backend: Backend, options: Any) -> int:
    """In seconds, rounded up; 0 without a limit. A preset may have a reference in the place of its options."""
    own = options.get("timeoutMs") if isinstance(options, dict) else None
    timeout_ms = own if isinstance(own, int | float) else backend.settings.job_timeout_ms
    return math.ceil((timeout_ms or 0) / 1000)
