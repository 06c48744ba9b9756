"""The table of what is served below `/v2`, and the one entry to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ForeignOrigin
from ..backend import BACKEND
from . import actors, logs, runs, storages, sync_runs
from .answers import refusal
from .errors import ApiError
from .routing import Router, effective_method
from .starting import find_actor, find_task

if TYPE_CHECKING:
    from aiohttp import web

    from .routing import RouteHandler

PREFIX = "/v2/"

OF_RUN: dict[str, dict[str, RouteHandler]] = {
    "dataset": {"GET": storages.run_dataset},
    "dataset/items": {"GET": storages.run_items},
    "key-value-store": {"GET": storages.run_store},
    "key-value-store/keys": {"GET": storages.run_keys},
    "key-value-store/records/*": {"GET": storages.run_record},
    "log": {"GET": logs.send_log},
    "abort": {"POST": runs.abort},
    "resurrect": {"POST": runs.resurrect},
}
"""What is served of one run, after its path."""


def _routes() -> dict[str, dict[str, RouteHandler]]:
    routes: dict[str, dict[str, RouteHandler]] = {
        "acts/*": {"GET": actors.show_actor},
        "acts/*/runs": {"GET": runs.list_of_actor, "POST": runs.start_actor},
        "acts/*/runs/*": {"GET": runs.of_actor_run(runs.show)},
        "acts/*/runs/*/abort": {"POST": runs.of_actor_run(runs.abort)},
        "acts/*/runs/*/resurrect": {"POST": runs.of_actor_run(runs.resurrect)},
        "actor-tasks/*": {"GET": actors.show_task},
        "actor-tasks/*/input": {"GET": actors.show_task_input},
        "actor-tasks/*/runs": {"GET": runs.list_of_task, "POST": runs.start_task},
        "actor-runs": {"GET": runs.list_all},
        "actor-runs/*": {"GET": runs.of_run(runs.show)},
        "logs/*": {"GET": runs.of_run(logs.send_log)},
        "datasets/*": {"GET": storages.dataset},
        "datasets/*/items": {"GET": storages.items},
        "key-value-stores/*": {"GET": storages.store},
        "key-value-stores/*/keys": {"GET": storages.keys},
        "key-value-stores/*/records/*": {"GET": storages.record},
        "users/me": {"GET": actors.show_user},
    }
    for kind, find in (("acts", find_actor), ("actor-tasks", find_task)):
        sync, sync_items = sync_runs.run_sync(find), sync_runs.run_sync_items(find)
        routes[f"{kind}/*/run-sync"] = {"GET": sync, "POST": sync}
        routes[f"{kind}/*/run-sync-get-dataset-items"] = {"GET": sync_items, "POST": sync_items}
        routes[f"{kind}/*/runs/last"] = {"GET": runs.of_last_run(find, runs.show)}
        for path, handlers in OF_RUN.items():
            routes[f"{kind}/*/runs/last/{path}"] = {
                method: runs.of_last_run(find, handler) for method, handler in handlers.items()
            }
    for path, handlers in OF_RUN.items():
        routes[f"actor-runs/*/{path}"] = {
            method: runs.of_run(handler) for method, handler in handlers.items()
        }
    return routes


ROUTER = Router(_routes())


async def serve(request: web.Request) -> web.StreamResponse:
    """Answer any request below `/v2`."""
    try:
        method = effective_method(request)
        handler, names = ROUTER.resolve(method, request.rel_url.raw_path.removeprefix(PREFIX))
        if method != "HEAD" and (method != "GET" or "run-sync" in request.path):
            _refuse_foreign_pages(request)
        return await handler(request, *names)
    except ApiError as error:
        return refusal(error)


def _refuse_foreign_pages(request: web.Request) -> None:
    """Where no token is needed, a page of another site must not start runs by a plain link or image.

    Raises:
        ForeignOrigin: The browser says that another site's page makes this request (Fetch Metadata).
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    if request.app[BACKEND].settings.access_token is None and site not in ("same-origin", "none"):
        raise ForeignOrigin
