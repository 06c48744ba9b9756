"""The dataset and the key-value store of one run: what its handler stored, else what its result holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from ...jobs import outputs
from ...jobs.outputs import Record
from .items import ItemQuery

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ...jobs.model import Job
    from ...jobs.store import JobStore

ITEMS_PER_PAGE = 1000
JSON = "application/json; charset=utf-8"


class RunDataset:
    """The items of a run: those that its handler pushed, else its result, a list or a single one.

    Args:
        store: The open store.
        job: The run's newest job.
    """

    def __init__(self, store: JobStore, job: Job) -> None:
        self._store = store
        self._job = job
        self._stored: int | None = None

    async def count(self) -> int:
        """How many items there are."""
        return await self._count_stored() or len(self._derived())

    async def count_clean(self) -> int:
        """How many are left when hidden fields and then empty items are skipped."""
        clean = ItemQuery(skip_hidden=True, skip_empty=True)
        return sum(
            [
                sum(1 for _ in clean.shape(page))
                async for page in self.pages(0, await self.count(), desc=False)
            ]
        )

    async def pages(self, offset: int, limit: int, *, desc: bool) -> AsyncIterator[list[Any]]:
        """The items from `offset` on, `limit` at most, a page at a time."""
        stored = await self._count_stored()
        if not stored:
            items = self._derived()
            yield (items[::-1] if desc else items)[offset : offset + limit]
            return
        end = min(stored, offset + limit)
        for first in range(offset, end, ITEMS_PER_PAGE):
            last = min(first + ITEMS_PER_PAGE, end)
            chosen = (stored - last, stored - first) if desc else (first, last)
            items = await self._read(*chosen)
            yield items[::-1] if desc else items

    async def _count_stored(self) -> int:
        if self._stored is None:
            low, high = outputs.item_key(self._job, 0), outputs.prefix(self._job) + "~"
            [(last,)] = await self._store.select(
                "SELECT max(key) FROM items WHERE key >= ? AND key < ?", (low, high)
            )
            self._stored = 0 if last is None else outputs.item_index(last) + 1
        return self._stored

    async def _read(self, first: int, end: int) -> list[Any]:
        bounds = (outputs.item_key(self._job, first), outputs.item_key(self._job, end))
        rows = await self._store.select(
            "SELECT value FROM items WHERE key >= ? AND key < ? ORDER BY key", bounds
        )
        return [from_json(value) for (value,) in rows]

    def _derived(self) -> list[Any]:
        result = None if self._job.result is None else from_json(self._job.result)
        if result is None:
            return []
        return result if isinstance(result, list) else [result]


class RunRecords:
    """The records of a run: its task as `INPUT`, its result as `OUTPUT`, and what its handler stored.

    Args:
        store: The open store.
        job: The run's newest job.
    """

    def __init__(self, store: JobStore, job: Job) -> None:
        self._store = store
        self._job = job

    async def get(self, key: str) -> Record | None:
        """The record under a key."""
        stored = self._store.get("records", outputs.prefix(self._job) + key)
        if stored is not None:
            return outputs.decode_record(key, stored)
        body = self._derived().get(key)
        return None if body is None else Record(key, JSON, body)

    async def sizes(self) -> dict[str, int]:
        """Every key with the size of its record in bytes."""
        low = outputs.prefix(self._job)
        rows = await self._store.select(
            "SELECT key, length(value) - instr(value, x'0a') FROM records WHERE key >= ? AND key < ?",
            (low, low + "~"),
        )
        derived = {key: len(body) for key, body in self._derived().items()}
        return derived | {key.removeprefix(low): size for key, size in rows}

    def _derived(self) -> dict[str, bytes]:
        records = {"INPUT": self._job.shown_task or self._job.task}
        if self._job.result not in (None, b"null"):
            records["OUTPUT"] = self._job.result or b""
        return records
