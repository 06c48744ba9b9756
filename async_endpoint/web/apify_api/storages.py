"""Storages by id: those of runs (a storage has its run's id), and the service's default ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import BACKEND
from . import datasets, stores
from .errors import ApiError, not_found
from .run_index import find_run

if TYPE_CHECKING:
    from aiohttp import web

    from ...jobs.model import Job


def _find_dataset(request: web.Request, dataset_id: str) -> datasets.Source:
    own = request.app[BACKEND].storages
    if dataset_id in (own.dataset_id, "default"):
        return datasets.Source(own.dataset_id, own.items, own.views)
    try:
        return datasets.of_job(request.app[BACKEND], find_run(request.app[BACKEND], dataset_id))
    except ApiError:
        raise not_found("Dataset") from None


def _find_store(request: web.Request, store_id: str) -> stores.Store:
    own = request.app[BACKEND].storages
    if store_id in (own.store_id, "default"):
        return stores.Store(own.store_id, own.records)
    try:
        return stores.of_job(request.app[BACKEND], find_run(request.app[BACKEND], store_id))
    except ApiError:
        raise not_found("Key-value store") from None


async def dataset(request: web.Request, dataset_id: str) -> web.Response:
    """GET datasets/:id."""
    return await datasets.describe(request, _find_dataset(request, dataset_id))


async def items(request: web.Request, dataset_id: str) -> web.StreamResponse:
    """GET datasets/:id/items."""
    return await datasets.send_items(request, _find_dataset(request, dataset_id))


async def store(request: web.Request, store_id: str) -> web.Response:
    """GET key-value-stores/:id."""
    return await stores.describe(request, _find_store(request, store_id))


async def keys(request: web.Request, store_id: str) -> web.Response:
    """GET key-value-stores/:id/keys."""
    return await stores.list_keys(request, _find_store(request, store_id))


async def record(request: web.Request, store_id: str, key: str) -> web.Response:
    """GET key-value-stores/:id/records/:key."""
    return await stores.send_record(request, _find_store(request, store_id), key)


async def run_dataset(request: web.Request, job: Job) -> web.Response:
    """GET …/dataset."""
    return await datasets.describe(request, datasets.of_job(request.app[BACKEND], job))


async def run_items(request: web.Request, job: Job) -> web.StreamResponse:
    """GET …/dataset/items."""
    return await datasets.send_items(request, datasets.of_job(request.app[BACKEND], job))


async def run_store(request: web.Request, job: Job) -> web.Response:
    """GET …/key-value-store."""
    return await stores.describe(request, stores.of_job(request.app[BACKEND], job))


async def run_keys(request: web.Request, job: Job) -> web.Response:
    """GET …/key-value-store/keys."""
    return await stores.list_keys(request, stores.of_job(request.app[BACKEND], job))


async def run_record(request: web.Request, job: Job, key: str) -> web.Response:
    """GET …/key-value-store/records/:key."""
    return await stores.send_record(request, stores.of_job(request.app[BACKEND], job), key)
