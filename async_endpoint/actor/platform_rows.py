"""Rows into the run's default dataset on the platform: each once, whatever the API answers.

A push whose answer is unclear may have been applied. What the dataset holds decides: its newest items are
read back until the rows show up, or for some seconds when they do not.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from apify_client.errors import ApifyApiError
from pydantic_core import from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from apify_client._resource_clients import DatasetClientAsync

    from .rows import Row

logger = logging.getLogger(__name__)

MAX_ITEM_BYTES = 9_000_000
"""A larger item is cut; the platform takes pushes of 9 MiB."""

BATCH_BYTES = 1_000_000
BATCH_ROWS = 500
"""A push holds at most so much, unless a single row is larger."""

_EXCERPT_CHARS = 50_000
_TIMEOUT = timedelta(seconds=10)
_SETTLE_GAPS = (0.2, 0.3, 0.5, 1.0, 1.0, 2.0)
"""Seconds between the looks at the dataset after an unclear answer: it may arrive or be shown late."""

_RETRY_GAPS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a refused call is tried again; the last gap repeats."""


class PlatformRows:
    """Appends rows to a dataset, through a client whose own retries are off."""

    def __init__(self, client: DatasetClientAsync) -> None:
        self._client = client

    async def present(self, rows: Sequence[Row]) -> int:
        """How many of these rows, which the last process may have pushed, are in the dataset.

        Waits some seconds for those that are not there.
        """
        return await self._settle(rows) if rows else 0

    async def append(self, rows: Sequence[Row]) -> None:
        """Push the rows in order; returns once they are in the dataset, however long the API fails."""
        for batch in _batches(rows):
            await self._append(batch)

    async def _append(self, batch: Sequence[Row]) -> None:
        failures = 0
        while batch:
            try:
                await self._client.push_items(_array(batch), timeout=_TIMEOUT)
            except Exception as exc:
                logger.debug("a push of %d rows failed: %s", len(batch), exc)
                batch = await self._left_after(exc, batch)
                await asyncio.sleep(_RETRY_GAPS[min(failures, len(_RETRY_GAPS) - 1)] if batch else 0)
                failures += 1
            else:
                return

    async def _left_after(self, exc: Exception, batch: Sequence[Row]) -> Sequence[Row]:
        """The rows that are still to be pushed after this failure."""
        status = exc.status_code if isinstance(exc, ApifyApiError) else None
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return [cut_row(row, len(row.text) // 2) for row in batch]
        if status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            if status != HTTPStatus.TOO_MANY_REQUESTS:
                logger.error("the dataset refuses rows, trying again: %s", exc)
            return batch
        return batch[await self._settle(batch) :]

    async def _settle(self, rows: Sequence[Row]) -> int:
        """How many of the rows show up in the time that a late write or a late read may take."""
        count = 0
        for gap in (*_SETTLE_GAPS, None):
            found = await self._newest_ids(len(rows) + BATCH_ROWS)
            count = next((n for n in range(len(rows), count, -1) if rows[n - 1].job_id in found), count)
            if count == len(rows) or gap is None:
                return count
            await asyncio.sleep(gap)
        raise AssertionError("unreachable")

    async def _newest_ids(self, limit: int) -> set[Any]:
        failures = 0
        while True:
            try:
                page = await self._client.list_items(
                    desc=True, limit=limit, fields=["jobId"], timeout=_TIMEOUT
                )
            except Exception as exc:
                logger.debug("the dataset could not be read: %s", exc)
                await asyncio.sleep(_RETRY_GAPS[min(failures, len(_RETRY_GAPS) - 1)])
                failures += 1
            else:
                return {item.get("jobId") for item in page.items}


def cut_row(row: Row, limit: int) -> Row:
    """A row with its result, and if need be its task, cut to fit into `limit` bytes; a note says so."""
    if len(row.text) <= limit:
        return row
    item = from_json(row.text)
    for name in ("result", "task"):
        if len(row.text) > limit:
            text = to_json(item[name]).decode()
            item[name] = {
                "note": f"Cut: the dataset takes items of at most {MAX_ITEM_BYTES:,} bytes, and this {name} "
                f"has {len(text.encode()):,}. Its beginning follows as text.",
                "excerpt": text[: min(_EXCERPT_CHARS, limit // 16)],
            }
            row = row._replace(text=to_json(item))
    return row


def _batches(rows: Sequence[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        fitting = cut_row(row, MAX_ITEM_BYTES - 2)
        if batch and (size + len(fitting.text) > BATCH_BYTES or len(batch) >= BATCH_ROWS):
            yield batch
            batch, size = [], 0
        batch.append(fitting)
        size += len(fitting.text) + 1
    if batch:
        yield batch


def _array(batch: Sequence[Row]) -> str:
    return "[" + ",".join(row.text.decode() for row in batch) + "]"
