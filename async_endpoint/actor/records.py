"""The run's default key-value store as the replica uses it: bytes under keys, through the official clients.

The clients' own retries are off: what to do about an unclear answer depends on what was written.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

from apify_client import ApifyClient, ApifyClientAsync
from apify_client.errors import NotFoundError

MAX_RECORD_BYTES = 9_000_000
"""No record is larger; the platform takes 9 MiB."""

_CALLS_PER_SECOND = 150
_BURST_SECONDS = 0.2
"""All calls for records keep to this rate, after a pause with some at once: the platform refuses more than
200 a second for one store."""

_BACKGROUND_PER_SECOND = 75
"""Removals and snapshots leave the rest of the rate to the writes that clients wait for."""

_SECONDS = 3.0
"""A call that takes longer is given up; large bodies get a second more for every megabyte."""

_READ_GAPS = (0.2, 0.5, 1.0, 2.0, 5.0)
"""Seconds between the tries of a read; the last gap repeats."""

_READ_PATIENCE = 120.0
"""Seconds after which a read gives up."""


class RecordsError(Exception):
    """The key-value store does not answer, or refuses."""


class Records:
    """Records of one key-value store, within the platform's rate.

    Args:
        token: Of the Apify API.
        api_url: Its base URL.
        store_id: The key-value store.
    """

    def __init__(self, token: str | None, api_url: str, store_id: str) -> None:
        self._client = ApifyClientAsync(token, api_url=api_url, max_retries=0).key_value_store(store_id)
        self._writer = ApifyClient(token, api_url=api_url, max_retries=0).key_value_store(store_id)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="replica")
        self._due = self._background_due = 0.0

    async def put(self, key: str, body: bytes) -> None:
        """Write a record once, which clients wait for.

        It is written from a thread of its own: on a busy event loop each of the client's steps would wait for a turn.

        Raises:
            RecordsError: It may have been written or not.
        """
        await self._pace()
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, key, body)
        except Exception as exc:
            raise RecordsError(f"record {key} was not written: {_describe(exc)}") from exc

    async def put_in_background(self, key: str, body: bytes) -> None:
        """Write a record once, which nobody waits for; raises RecordsError as `put` does."""
        await self._pace_background()
        try:
            await self._client.set_record(key, body, **_options(body))
        except Exception as exc:
            raise RecordsError(f"record {key} was not written: {_describe(exc)}") from exc

    async def remove(self, key: str) -> None:
        """Remove a record; one that is gone already is fine. Raises RecordsError."""
        await self._pace_background()
        try:
            await self._client.delete_record(key, timeout=timedelta(seconds=_SECONDS))
        except NotFoundError:
            return
        except Exception as exc:
            raise RecordsError(f"record {key} was not removed: {_describe(exc)}") from exc

    async def get(self, key: str) -> bytes | None:
        """A record, or None where there is none; tries for two minutes, then raises RecordsError."""
        started = time.monotonic()
        for attempt in range(1_000_000):
            await self._pace()
            try:
                record = await self._client.get_record_as_bytes(key, timeout=timedelta(seconds=30))
            except Exception as exc:
                await _wait_before_reading_again(started, attempt, exc)
            else:
                return None if record is None else bytes(record["value"])
        raise AssertionError("unreachable")

    async def keys(self, prefix: str) -> list[str]:
        """All keys with this prefix, in order; tries for two minutes, then raises RecordsError."""
        started, found, after = time.monotonic(), list[str](), None
        for attempt in range(1_000_000):
            try:
                page = await self._client.list_keys(prefix=prefix, limit=1000, exclusive_start_key=after)
            except Exception as exc:
                await _wait_before_reading_again(started, attempt, exc)
                continue
            found += [item.key for item in page.items if item.key.startswith(prefix)]
            after = page.next_exclusive_start_key
            if not page.is_truncated or after is None:
                return found
        raise AssertionError("unreachable")

    def _write(self, key: str, body: bytes) -> None:
        self._writer.set_record(key, body, **_options(body))

    async def _pace(self) -> None:
        now = time.monotonic()
        self._due = max(self._due, now - _BURST_SECONDS) + 1 / _CALLS_PER_SECOND
        if self._due > now:
            await asyncio.sleep(self._due - now)

    async def _pace_background(self) -> None:
        now = time.monotonic()
        self._background_due = max(self._background_due, now) + 1 / _BACKGROUND_PER_SECOND
        await asyncio.sleep(self._background_due - now)
        await self._pace()


def _options(body: bytes) -> dict[str, Any]:
    return {
        "content_type": "application/octet-stream",
        "content_encoding": "identity",  # it is compressed already: the client would try again
        "timeout": timedelta(seconds=_SECONDS + len(body) / 1_000_000),
    }


async def _wait_before_reading_again(started: float, attempt: int, exc: Exception) -> None:
    if time.monotonic() - started > _READ_PATIENCE:
        raise RecordsError(f"the key-value store cannot be read: {_describe(exc)}") from exc
    await asyncio.sleep(_READ_GAPS[min(attempt, len(_READ_GAPS) - 1)])


def _describe(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
