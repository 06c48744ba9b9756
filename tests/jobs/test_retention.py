from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Any

from async_endpoint.jobs import commits, retention
from async_endpoint.jobs.clock import now_ms
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.model import Job, JobStatus
from async_endpoint.jobs.records import encode
from async_endpoint.jobs.retention import Retention

if TYPE_CHECKING:
    import pytest

    from async_endpoint.jobs.store import JobStore

HOUR_MS = 3_600_000


async def fill(store: JobStore, count: int, *, age_ms: int = 0, first: int = 1) -> None:
    """Ended jobs `job 001` and on, each with a key, an event and an item; and one that still waits."""
    changes = [Change("jobs", "pending", encode(Job("pending", "echo", b"{}", 1)))]
    for row in range(first, first + count):
        name, at = f"job {row:03d}", now_ms() - age_ms
        job = Job(name, "echo", b"{}", at, status=JobStatus.COMPLETED, result=b"1", finished_at=at, row=row)
        changes += [
            Change("jobs", job.id, encode(job.evolve(idempotency=f"api:{name}"))),
            Change("idempotency", f"api:{name}", b"{}"),
        ]
        changes += [
            Change(table, f"{name}/1", b"x") for table in ("events", "items", "records", "deliveries")
        ]
    await store.write(changes).settled()


def kept(store: JobStore) -> list[str]:
    return [key for key, _ in store.scan("jobs") if key != "pending"]


def make(store: JobStore, *, hours: int = 1, most: int = 1000, **more: Any) -> Retention:
    return Retention(store, hours, most, **{"owes": [], "forget": lambda _: None, **more})


async def test_the_oldest_leave_when_there_are_too_many(store: JobStore) -> None:
    await fill(store, 10)
    left: list[str] = []
    await make(store, most=3, forget=left.append).sweep()
    assert kept(store) == ["job 008", "job 009", "job 010"]
    assert left == [f"job {n:03d}" for n in range(1, 8)]


async def test_who_is_too_old_leaves_with_all_that_hangs_on_it(store: JobStore) -> None:
    await fill(store, 3, age_ms=2 * HOUR_MS)
    await fill(store, 2, first=4)
    await make(store).sweep()
    assert kept(store) == ["job 004", "job 005"]
    for table in ("events", "items", "records", "deliveries"):
        assert [key for key, _ in store.scan(table)] == ["job 004/1", "job 005/1"]
    assert [key for key, _ in store.scan("idempotency")] == ["api:job 004", "api:job 005"]
    assert store.job("pending") is not None


async def test_nobody_leaves_who_owes(store: JobStore) -> None:
    await fill(store, 6, age_ms=2 * HOUR_MS)
    owes = [lambda job: job.row == 2, lambda job: job.id == "job 005"]
    await make(store, most=1, owes=owes).sweep()
    assert kept(store) == ["job 002", "job 005"]


async def test_those_who_owe_do_not_hold_up_the_others(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_PAGE", 3)
    await fill(store, 10, age_ms=2 * HOUR_MS)
    await make(store, owes=[lambda job: job.row <= 4]).sweep()
    assert kept(store) == ["job 001", "job 002", "job 003", "job 004"]


async def test_numbers_of_rows_go_on_after_all_jobs_have_left(store: JobStore) -> None:
    await fill(store, 3, age_ms=2 * HOUR_MS)
    await store.write([Change("meta", "rowsWritten", b"3")]).settled()
    await make(store).sweep()
    assert (kept(store), store.last_row()) == ([], 3)


async def test_a_commit_that_fails_does_not_end_retention(
    store: JobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "_SWEEP_SECONDS", 0.01)
    monkeypatch.setattr(commits, "_RETRY_SECONDS", 0.05)
    await fill(store, 3, age_ms=2 * HOUR_MS)
    apply, failures = store.database.apply, [sqlite3.OperationalError("disk is full")]

    def fail_once(changes: Any) -> None:
        if failures:
            raise failures.pop()
        apply(changes)

    monkeypatch.setattr(store.database, "apply", fail_once)
    sweeping = asyncio.create_task(make(store).run())
    await asyncio.sleep(0.1)
    await fill(store, 3, age_ms=2 * HOUR_MS, first=4)
    await asyncio.sleep(0.1)
    sweeping.cancel()
    await asyncio.gather(sweeping, return_exceptions=True)
    assert kept(store) == []
