"""Stores on disks that are empty at the start, over a replica on the stand-in that is not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TYPE_CHECKING

from async_endpoint.actor import replica as replica_module
from async_endpoint.actor.records import Records
from async_endpoint.actor.replica import Replica
from async_endpoint.jobs.database import Database
from tests.platform.api import STORE_ID
from tests.platform.standin import TOKEN, StandIn

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PUT = "^PUT .*/records/"
Open = Callable[..., Awaitable["Machine"]]


def compact_early(monkeypatch: pytest.MonkeyPatch, *, size: int, pause: float) -> None:
    """Let a replica make a snapshot after so many bytes, `pause` seconds after the last one."""
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", size)
    monkeypatch.setattr(replica_module, "_COMPACT_PAUSE", pause)
    monkeypatch.setattr(replica_module, "_COMPACT_SHARE", 0)


class Machine:
    """A store on a disk that is empty at the start, over a replica that is not."""

    def __init__(self, folder: Path, platform: StandIn, *, wait: bool) -> None:
        self.replica = Replica(Records(TOKEN, platform.url, STORE_ID), wait=wait)
        self.database = Database(folder / "jobs.sqlite", disposable=True)

    async def start(self) -> None:
        changes = await self.replica.restore(self.database.path)
        self.database.open()
        self.database.apply(changes)
        self.replica.start(self.database.copy)

    async def commit(self, *keys: str, value: bytes = b"{}\n") -> None:
        changes: dict[tuple[str, str], bytes | None] = {("records", key): value for key in keys}
        number = await self.replica.append(changes)
        self.database.apply(changes | {("meta", "journalSequence"): b"%d" % number})

    async def die(self) -> None:
        """End without a last word."""
        for task in self.replica._tasks:
            task.cancel()
        await asyncio.gather(*self.replica._tasks, return_exceptions=True)
        self.database.close()

    def committed(self) -> set[str]:
        with closing(sqlite3.connect(self.database.path)) as connection:
            return {key for (key,) in connection.execute("SELECT key FROM records")}

    async def compacted(self) -> None:
        """Wait until no snapshot is being made."""
        while self.replica._compacting:
            await asyncio.sleep(0.01)
