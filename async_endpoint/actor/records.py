"""The run's default key-value store as the replica uses it: bytes under keys, through the official client.

The client's own retries are off: what to do about an unclear answer depends on what was written.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from apify_client.errors import NotFoundError

if TYPE_CHECKING:
    from apify_client._resource_clients import KeyValueStoreClientAsync

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
    """Records of one key-value store, within the platform's rate."""

    def __init__(self, client: KeyValueStoreClientAsync) -> None:
        self._client = client
        self._due = self._background_due = 0.0

    async def put(self, key: str, body: bytes, *, background: bool = False) -> None:
        """Write a record once; raises RecordsError when it may or may not have been written."""
        await (self._pace_background() if background else self._pace())
        timeout = timedelta(seconds=_SECONDS + len(body) / 1_000_000)
        try:
            await self._client.set_record(
                key,
                body,
                content_type="application/octet-stream",
                content_encoding="identity",  # it is compressed already: the client would try again
                timeout=timeout,
            )
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

    async def _pace(self) -> None:
        now = time.monotonic()
        self._due = max(self._due, now - _BURST_SECONDS) + 1 / _CALLS_PER_SECOND
        await asyncio.sleep(max(0.0, self._due - now))

    async def _pace_background(self) -> None:
        now = time.monotonic()
        self._background_due = max(self._background_due, now) + 1 / _BACKGROUND_PER_SECOND
        await asyncio.sleep(self._background_due - now)
        await self._pace()


async def _wait_before_reading_again(started: float, attempt: int, exc: Exception) -> None:
    if time.monotonic() - started > _READ_PATIENCE:
        raise RecordsError(f"the key-value store cannot be read: {_describe(exc)}") from exc
    await asyncio.sleep(_READ_GAPS[min(attempt, len(_READ_GAPS) - 1)])


def _describe(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}" if str(exc) else type(exc).__name__
