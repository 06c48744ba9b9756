"""The service's own default storages: the dataset of rows, and the key-value store without private records.

Locally they are read from the files that the Apify SDK shares; on the platform through its API.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ..errors import Unavailable
from ..jobs.outputs import Record
from ..jobs.storages import DefaultStorages
from .dataset_schema import TRANSFORMATIONS
from .segments import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from apify_client import ApifyClientAsync
    from apify_client._resource_clients import DatasetClientAsync, KeyValueStoreClientAsync

    from ..jobs.storages import Records

logger = logging.getLogger(__name__)

ITEMS_PER_PAGE = 1000
BYTES_PER_PAGE = 4 * 1024 * 1024
"""A page ends when it has so many bytes: one row can have megabytes."""

FIRST_PAGE = 100
"""Rows of the first page from the platform, when their size is not known yet."""

READ_SECONDS = 60.0
"""How long one call may take on the platform, with all its tries."""

_METADATA = ".__metadata__.json"


def local_storages(folder: Path, input_key: str) -> DefaultStorages:
    """Those below the storage folder; the record `input_key` is the service's input."""
    records = LocalRecords(folder / "key_value_stores" / "default")
    items = LocalItems(folder / "datasets" / "default")
    return DefaultStorages("default", items, TRANSFORMATIONS, "default", PublicRecords(records, input_key))


def platform_storages(
    client: ApifyClientAsync, dataset_id: str, store_id: str, input_key: str
) -> DefaultStorages:
    """Those of this Actor run on the platform."""
    records = PlatformRecords(client.key_value_store(store_id))
    items = PlatformItems(client.dataset(dataset_id))
    return DefaultStorages(dataset_id, items, TRANSFORMATIONS, store_id, PublicRecords(records, input_key))


class PublicRecords:
    """The records that are not the service's own: its input holds the secrets of the settings."""

    def __init__(self, records: Records, input_key: str) -> None:
        self._records = records
        self._input_key = input_key

    async def get(self, key: str) -> Record | None:
        """The record under a key."""
        return None if self._is_private(key) else await self._records.get(key)

    async def sizes(self) -> dict[str, int]:
        """Every key with the size of its record in bytes."""
        return {key: size for key, size in (await self._records.sizes()).items() if not self._is_private(key)}

    def _is_private(self, key: str) -> bool:
        return key.partition(".")[0] == self._input_key or key == self._input_key or key.startswith(PREFIX)


class LocalItems:
    """A dataset in the SDK's files: `000000001.json`, `000000002.json`, …."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def count(self) -> int:
        """How many items there are."""
        return await asyncio.to_thread(self._count)

    async def count_clean(self) -> int:
        """Rows have no hidden fields and are never empty."""
        return await self.count()

    async def pages(self, offset: int, limit: int, *, desc: bool) -> AsyncIterator[list[Any]]:
        """Some of the items, a page at a time."""
        count = await self.count()
        end = min(count, offset + limit)
        numbers = iter(range(count - offset, count - end, -1) if desc else range(offset + 1, end + 1))
        while page := await asyncio.to_thread(self._read, numbers):
            yield page

    def _count(self) -> int:
        """The newest file may be on its way to the disk just now; it does not count until it is whole."""
        count = sum(path.stem.isdecimal() for path in self._folder.glob("*.json"))
        return count - (count > 0 and not self._path(count).read_bytes().rstrip().endswith(b"}"))

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:09}.json"

    def _read(self, numbers: Iterator[int]) -> list[Any]:
        """The next items, until they make a page."""
        items: list[Any] = []
        size = 0
        for number in numbers:
            text = self._path(number).read_bytes()
            items.append(json.loads(text))
            size += len(text)
            if len(items) == ITEMS_PER_PAGE or size >= BYTES_PER_PAGE:
                break
        return items


class LocalRecords:
    """A key-value store in the SDK's files: a value, and beside it its metadata."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def get(self, key: str) -> Record | None:
        """The record under a key."""
        return await asyncio.to_thread(self._get, key)

    async def sizes(self) -> dict[str, int]:
        """Every key with the size of its record in bytes."""
        return await asyncio.to_thread(self._sizes)

    def _get(self, key: str) -> Record | None:
        path = self._folder / quote(key, safe="")
        metadata = path.with_name(path.name + _METADATA)
        try:
            content_type = json.loads(metadata.read_bytes())["content_type"]
            return Record(key, content_type, path.read_bytes())
        except FileNotFoundError:
            return None

    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for metadata in self._folder.glob(f"?*{_METADATA}"):
            key = unquote(metadata.name.removesuffix(_METADATA))
            path = metadata.with_name(metadata.name.removesuffix(_METADATA))
            if path.exists():
                sizes[key] = path.stat().st_size
        return sizes


@asynccontextmanager
async def _reading() -> AsyncIterator[None]:
    """Whatever keeps the platform from answering: another try may have an answer.

    Raises:
        Unavailable: The reading failed.
    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            yield
    except Exception as error:
        logger.warning("a default storage cannot be read on the platform: %s", type(error).__name__)
        raise Unavailable("The storage cannot be read on the platform at the moment; try again.") from error


class PlatformItems:
    """A dataset on the platform."""

    def __init__(self, client: DatasetClientAsync) -> None:
        self._client = client

    async def count(self) -> int:
        """How many items there are."""
        async with _reading():
            return (await self._client.list_items(limit=1, fields=["jobId"])).total

    async def count_clean(self) -> int:
        """Rows have no hidden fields and are never empty."""
        return await self.count()

    async def pages(self, offset: int, limit: int, *, desc: bool) -> AsyncIterator[list[Any]]:
        """Some of the items, a page at a time; how many fit into one is told by the page before."""
        end, size = offset + limit, FIRST_PAGE
        while offset < end:
            async with _reading():
                text = await self._client.get_items_as_bytes(
                    offset=offset, limit=min(size, end - offset), desc=desc
                )
            page = await asyncio.to_thread(json.loads, text)
            if not page:
                return
            yield page
            offset += len(page)
            size = max(1, min(ITEMS_PER_PAGE, 2 * size, BYTES_PER_PAGE * len(page) // len(text)))


class PlatformRecords:
    """A key-value store on the platform."""

    def __init__(self, client: KeyValueStoreClientAsync) -> None:
        self._client = client

    async def get(self, key: str) -> Record | None:
        """The record under a key."""
        async with _reading():
            record = await self._client.get_record_as_bytes(key)
        return None if record is None else Record(key, record["content_type"], record["value"])

    async def sizes(self) -> dict[str, int]:
        """Every key with the size of its record in bytes."""
        async with _reading():
            return {item.key: item.size async for item in self._client.iterate_keys()}
