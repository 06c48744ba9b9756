"""Datasets: what there is of them, and their items in every format."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from aiohttp import web

from ...errors import ServiceError
from ...jobs.clock import iso, now_ms
from ..backend import BACKEND
from .answers import HARMLESS, data_response, link
from .formats import Table, Writer, make_writer, opening
from .items import ItemQuery, parse_bool
from .models import Dataset
from .run_model import run_id
from .run_storages import RunDataset
from .views import with_view

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...jobs.model import Job
    from ...jobs.storages import Items
    from ..backend import Backend


NO_VIEWS: Mapping[str, Mapping[str, Any]] = {}
"""Those of a run's dataset: nobody describes what a handler stores."""


class Source(NamedTuple):
    """One dataset: its id, its items, its views, and the run that it belongs to."""

    id: str
    items: Items
    views: Mapping[str, Mapping[str, Any]]
    job: Job | None = None


def of_job(backend: Backend, job: Job) -> Source:
    """The dataset of a run."""
    return Source(run_id(job), RunDataset(backend.store, job), NO_VIEWS, job)


async def describe(request: web.Request, source: Source) -> web.Response:
    """The dataset itself; one of no run is as old as the service."""
    backend, job = request.app[BACKEND], source.job
    changed = iso(now_ms() if job is None else job.finished_at or job.created_at)
    dataset = Dataset(
        id=source.id,
        created_at=iso(backend.started_at if job is None else job.created_at),
        modified_at=changed,
        accessed_at=changed,
        item_count=await source.items.count(),
        clean_item_count=await source.items.count_clean(),
        act_id=None if job is None else job.type,
        act_run_id=None if job is None else run_id(job),
        console_url=link(backend, "datasets", source.id),
        items_public_url=link(backend, "datasets", source.id, "items"),
    )
    return data_response(dataset.body())


class Export(NamedTuple):
    """What a request wants of items: which, and written by what. A writer serves one answer."""

    query: ItemQuery
    format: str
    writer: Writer
    opening: bytes


def parse_export(
    request: web.Request, dataset_id: str = "", views: Mapping[str, Mapping[str, Any]] = NO_VIEWS
) -> Export:
    """Read the query parameters.

    Raises:
        ApiError: 400 for one that is not valid.
    """
    query = ItemQuery.parse(with_view(request.query, views))
    address = link(request.app[BACKEND], "datasets", dataset_id, "items")
    name, writer = make_writer(request.query, dataset_id, address)
    return Export(query, name, writer, opening(request.query, name))


async def send_items(request: web.Request, source: Source, status: int = 200) -> web.StreamResponse:
    """The items that the query asks for, written as they are read.

    Raises:
        ApiError: 400 for a parameter that is not valid.
    """
    export = parse_export(request, source.id, source.views)
    headers = _headers(request, source.id, export, await source.items.count())
    response = web.StreamResponse(status=status, headers=headers)
    await response.prepare(request)
    if request.method != "HEAD":
        await response.write(export.opening)
        try:
            await _write(response, source.items, export)
        except ServiceError as error:
            # An error cannot be told any more; a connection that breaks off tells it.
            raise ConnectionError("the items cannot be read to the end") from error
    await response.write_eof()
    return response


def _headers(request: web.Request, dataset_id: str, export: Export, total: int) -> dict[str, str]:
    query = export.query
    headers = {
        "Content-Type": export.writer.content_type,
        **HARMLESS,
        "X-Apify-Pagination-Total": str(total),
        "X-Apify-Pagination-Offset": str(query.offset),
        "X-Apify-Pagination-Count": str(max(0, min(total - query.offset, query.page_limit))),
        "X-Apify-Pagination-Limit": str(query.reported_limit),
        "X-Apify-Pagination-Desc": "true" if query.desc else "false",
    }
    if parse_bool(request.query, "attachment"):
        headers["Content-Disposition"] = f'attachment; filename="dataset_{dataset_id}.{export.format}"'
    return headers


async def _write(response: web.StreamResponse, items: Items, export: Export) -> None:
    """Write with threads: a page of wide items takes longer than the event loop may stand still."""
    query, writer = export.query, export.writer
    if isinstance(writer, Table):
        async for page in items.pages(query.offset, query.page_limit, desc=query.desc):
            await asyncio.to_thread(writer.add_columns, query.shape(page))
    async for page in items.pages(query.offset, query.page_limit, desc=query.desc):
        await response.write(await asyncio.to_thread(writer.page, query.shape(page)))
    end = writer.end()
    while (piece := await asyncio.to_thread(next, end, None)) is not None:
        await response.write(piece)
