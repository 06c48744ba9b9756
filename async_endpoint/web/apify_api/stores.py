"""Key-value stores: what there is of them, their keys, and their records."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from ...jobs.clock import iso, now_ms
from ..backend import BACKEND
from .answers import HARMLESS, data_response, link
from .errors import ApiError, not_found
from .items import parse_bool, parse_number
from .models import KeyValueStore, KeyValueStoreKey, ListOfKeys
from .run_model import run_id
from .run_storages import RunRecords

if TYPE_CHECKING:
    from ...jobs.model import Job
    from ...jobs.outputs import Record
    from ...jobs.storages import Records
    from ..backend import Backend

MAX_KEYS_PER_PAGE = 1000


class Store(NamedTuple):
    """One key-value store: its id, its records, and the run that it belongs to."""

    id: str
    records: Records
    job: Job | None = None


def of_job(backend: Backend, job: Job) -> Store:
    """The key-value store of a run."""
    return Store(run_id(job), RunRecords(backend.store, job), job)


async def describe(request: web.Request, store: Store) -> web.Response:
    """The store itself."""
    backend, job = request.app[BACKEND], store.job
    created = iso(backend.started_at if job is None else job.created_at)
    changed = iso(now_ms() if job is None else job.finished_at or job.created_at)
    described = KeyValueStore(
        id=store.id,
        created_at=created,
        modified_at=changed,
        accessed_at=changed,
        act_id=None if job is None else job.type,
        act_run_id=None if job is None else run_id(job),
        console_url=link(backend, "key-value-stores", store.id),
        keys_public_url=link(backend, "key-value-stores", store.id, "keys"),
    )
    return data_response(described.body())


async def list_keys(request: web.Request, store: Store) -> web.Response:
    """A page of the keys, in the order of their bytes in UTF-8.

    Raises:
        ApiError: 400 for a parameter that is not valid.
    """
    backend, query = request.app[BACKEND], request.query
    limit = min(parse_number(query, "limit") or MAX_KEYS_PER_PAGE, MAX_KEYS_PER_PAGE)
    start, prefix = query.get("exclusiveStartKey"), query.get("prefix", "")
    if query.get("collection"):
        raise ApiError(400, "invalid-parameter", "This key-value store has no collections.")
    sizes = await store.records.sizes()
    keys = sorted((key for key in sizes if key.startswith(prefix) and key > (start or "")), key=str.encode)
    items = [
        KeyValueStoreKey(
            key=key,
            size=sizes[key],
            record_public_url=link(backend, "key-value-stores", store.id, "records", key),
        )
        for key in keys[:limit]
    ]
    more = len(keys) > limit
    page = ListOfKeys(
        items=items,
        count=len(items),
        limit=limit,
        exclusive_start_key=start,
        is_truncated=more,
        next_exclusive_start_key=items[-1].key if more else None,
    )
    return data_response(page.body())


async def send_record(request: web.Request, store: Store, key: str) -> web.Response:
    """One record, as it was stored.

    Raises:
        ApiError: 404 `record-not-found`.
    """
    record = await store.records.get(key)
    if record is None:
        raise not_found("Record")
    return record_response(record, attachment=bool(parse_bool(request.query, "attachment")))


def record_response(record: Record, status: int = 200, *, attachment: bool = False) -> web.Response:
    """A record as an answer."""
    headers = {"Content-Type": record.content_type, **HARMLESS}
    if attachment:
        headers["Content-Disposition"] = f'attachment; filename="{record.key}"'
    return web.Response(body=record.body, status=status, headers=headers)
