"""With a journal far away, a crowd of writers that come back one after the other shares its round trips."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from async_endpoint.jobs import commits
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.store import JobStore

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from async_endpoint.jobs.database import Changes


class FarJournal:
    """Takes 20 ms for each group."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    async def append(self, changes: Changes) -> int:
        await asyncio.sleep(0.02)
        self.groups.append(len(changes))
        return len(self.groups)


async def test_a_crowd_that_comes_back_is_written_together(tmp_path: Path) -> None:
    journal = FarJournal()
    store = JobStore(tmp_path / "jobs.sqlite", journal=journal)
    await store.open()

    async def client(number: int) -> None:
        for turn in range(15):
            await asyncio.sleep(number * 0.0002)
            change = Change("meta", f"{number}-{turn}", b"1")
            await store.write([change], undo=lambda: None).settled()

    await asyncio.gather(*(client(number) for number in range(30)))
    await store.close()
    assert len(journal.groups) < 22


async def test_a_writer_alone_is_not_held_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_GATHER_SECONDS", 2.0)
    store = JobStore(tmp_path / "jobs.sqlite", journal=FarJournal())
    await store.open()
    began = time.monotonic()
    for turn in range(5):
        await store.write([Change("meta", str(turn), b"1")], undo=lambda: None).settled()
    took = time.monotonic() - began
    await store.close()
    assert took < 2
