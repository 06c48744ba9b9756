from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from async_endpoint.actor import rows as rows_module
from async_endpoint.actor.rows import CURSOR, Row, RowWriter
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.model import Job, JobStatus
from async_endpoint.jobs.records import encode
from async_endpoint.jobs.store import JobStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


class Sink:
    """Keeps row numbers; can be held up, and can fail."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.most_bytes = 0
        self.failures = 0
        self.going = asyncio.Event()
        self.going.set()

    async def present(self, rows: Sequence[Row]) -> int:
        return 0

    async def append(self, rows: Sequence[Row]) -> None:
        await self.going.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.numbers += [row.number for row in rows]
        self.most_bytes = max(self.most_bytes, sum(len(row.text) for row in rows))


class Office:
    """A store in which jobs end, and the writer of their rows."""

    def __init__(self, store: JobStore) -> None:
        self.store = store
        self.sink = Sink()
        self.last = 0
        self.open()

    def open(self) -> None:
        self.rows = RowWriter(self.store, self.sink)
        self.writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.writing = asyncio.create_task(self.rows.run())

    async def end(self, count: int, result: bytes | None = None) -> list[Job]:
        """So many jobs end, and nobody is told."""
        numbers = range(self.last + 1, self.last + count + 1)
        self.last += count
        jobs = [
            Job(f"job-{n}", "echo", b"{}", 1, status=JobStatus.COMPLETED, finished_at=2, row=n, result=result)
            for n in numbers
        ]
        await self.store.write([Change("jobs", job.id, encode(job)) for job in jobs]).settled()
        return jobs

    def tell(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self.rows.ended(job)

    async def written(self) -> list[int]:
        await asyncio.wait_for(self.rows.flush(), 10)
        return self.sink.numbers


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    store = JobStore(tmp_path / "jobs.sqlite")
    await store.open()
    opened = Office(store)
    yield opened
    if opened.writing is not None:
        opened.writing.cancel()
        await asyncio.gather(opened.writing, return_exceptions=True)
    await store.close()


async def test_rows_are_written_in_order_and_the_cursor_follows(office: Office) -> None:
    office.start()
    for _ in range(5):
        office.tell(await office.end(3))
    assert await office.written() == list(range(1, 16))
    await office.store.flush()
    assert office.store.number(CURSOR) == 15


async def test_a_start_goes_on_after_the_cursor(office: Office) -> None:
    office.tell(await office.end(3))
    office.start()
    await office.written()
    assert office.writing is not None
    office.writing.cancel()
    await office.end(2)
    office.open()
    office.start()
    assert await office.written() == [1, 2, 3, 4, 5]


async def test_a_job_that_is_told_while_its_row_is_read_from_the_store_is_written_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit is in the store a moment before anybody is told."""
    jobs = await office.end(2)
    read = office.store.ended_after

    async def read_and_be_told(row: int, limit: int) -> list[Job]:
        found = await read(row, limit)
        if not office.rows._behind:
            office.tell(jobs)
            jobs.clear()
        return found

    monkeypatch.setattr(office.store, "ended_after", read_and_be_told)
    office.start()
    async with asyncio.timeout(10):
        while jobs or not office.sink.numbers:
            await asyncio.sleep(0.01)
    office.tell(await office.end(1))
    assert await office.written() == [1, 2, 3]


async def test_more_rows_than_are_held_in_memory_are_each_written_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_BACKLOG", 10)
    office.start()
    office.tell(await office.end(1))
    await office.written()
    office.sink.going.clear()
    for _ in range(6):
        office.tell(await office.end(5))
        await asyncio.sleep(0.03)
    office.sink.going.set()
    assert await office.written() == list(range(1, 32))


async def test_many_jobs_that_end_during_the_last_look_into_the_store_are_not_forgotten(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_BACKLOG", 3)
    office.start()
    await office.written()
    read, late = office.store.ended_after, asyncio.Event()

    async def read_before_others_end(row: int, limit: int) -> list[Job]:
        found = await read(row, limit)
        if not found and not office.rows._behind and not late.is_set():
            office.tell(await office.end(5))
            late.set()
        return found

    monkeypatch.setattr(office.store, "ended_after", read_before_others_end)
    office.tell(await office.end(4))
    await asyncio.wait_for(late.wait(), 10)
    assert await office.written() == list(range(1, 10))


async def test_rows_that_could_not_be_written_come_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_RETRY_SECONDS", 0.01)
    office.sink.failures = 3
    office.start()
    for _ in range(3):
        office.tell(await office.end(2))
    assert await office.written() == [1, 2, 3, 4, 5, 6]


async def test_large_rows_are_held_and_read_few_at_a_time(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows_module, "_BACKLOG_BYTES", 2_000_000)
    large = b'"' + bytes(1_000_000).replace(b"\0", b"x") + b'"'
    office.tell(await office.end(20, large))
    office.start()
    assert await office.written() == list(range(1, 21))
    office.sink.going.clear()
    for _ in range(20):
        office.tell(await office.end(1, large))
        assert sum(len(job.result or b"") for job in office.rows._queue) < 3_100_000
    office.sink.going.set()
    assert await office.written() == list(range(1, 41))
    assert office.sink.most_bytes < 10_500_000
