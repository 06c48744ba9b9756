from __future__ import annotations

import asyncio
import sqlite3
import threading
from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.errors import StoreUnavailable
from async_endpoint.jobs import commits
from async_endpoint.jobs.database import Change

if TYPE_CHECKING:
    from async_endpoint.jobs.store import JobStore


class Disk:
    """Stands before the database: counts its transactions, and fails while it is told to."""

    def __init__(self, store: JobStore) -> None:
        self.full = False
        self.busy = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.commits: list[dict[Any, Any]] = []
        self._apply = store.database.apply
        store.database.apply = self.apply  # type: ignore[method-assign]

    def apply(self, changes: Any) -> None:
        self.busy.set()
        self.go_on.wait()
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        self.commits.append(dict(changes))
        self._apply(changes)


@pytest.fixture
def disk(store: JobStore, monkeypatch: pytest.MonkeyPatch) -> Disk:
    monkeypatch.setattr(commits, "_RETRY_SECONDS", 0.01)
    return Disk(store)


def put(key: str, value: bytes | None = b"1") -> list[Change]:
    return [Change("meta", key, value)]


async def test_writes_that_come_together_share_a_commit_and_are_told_in_order(
    store: JobStore, disk: Disk
) -> None:
    told: list[int] = []
    for number in range(100):
        store.write(put(f"k{number}"), lambda number=number: told.append(number))
    assert told == []
    await store.flush()
    assert told == list(range(100))
    assert len(disk.commits) == 1


async def test_of_one_key_the_last_value_counts_and_the_others_are_never_made(
    store: JobStore, disk: Disk
) -> None:
    store.write([Change("meta", "k", lambda: 1 / 0)])  # type: ignore[arg-type, return-value]
    store.write([Change("meta", "k", lambda: b"2")])
    store.write(put("gone"))
    store.write(put("gone", None))
    await store.flush()
    assert (store.get("meta", "k"), store.get("meta", "gone")) == (b"2", None)


async def test_it_is_on_disk_when_it_is_told(store: JobStore, disk: Disk) -> None:
    seen: list[bytes | None] = []
    await store.write(put("k"), lambda: seen.append(store.get("meta", "k"))).settled()
    assert seen == [b"1"]


async def test_a_failed_commit_is_tried_until_it_succeeds_in_order(store: JobStore, disk: Disk) -> None:
    told: list[str] = []
    disk.full = True
    disk.go_on.clear()
    first = store.write(put("k", b"old"), lambda: told.append("old"))
    await asyncio.to_thread(disk.busy.wait)
    store.write(put("k", b"new"), lambda: told.append("new"))
    disk.go_on.set()
    with pytest.raises(StoreUnavailable):
        await first.settled()
    assert (told, store.writable) == ([], False)
    await asyncio.sleep(0.03)
    disk.full = False
    await first.committed()
    await store.flush()
    assert (told, store.writable, store.get("meta", "k")) == (["old", "new"], True, b"new")


async def test_what_can_be_undone_is_refused_with_all_that_follows_from_it(
    store: JobStore, disk: Disk
) -> None:
    undone: list[str] = []
    disk.full = True
    accept = store.write(put("job"), undo=lambda: undone.append("job"))
    store.write(put("end"), lambda: undone.append("never"), follows=accept)
    other = store.write(put("other"))
    disk.go_on.clear()
    await asyncio.to_thread(disk.busy.wait)
    store.write(put("late"), lambda: undone.append("never"), follows=accept)
    next_one = store.write(put("next"), undo=lambda: undone.append("next"))
    disk.go_on.set()
    with pytest.raises(StoreUnavailable):
        await accept.settled()
    assert undone == ["job", "next"], "nobody waits for a second commit to fail"
    with pytest.raises(StoreUnavailable):
        await next_one.settled()
    disk.full = False
    await other.committed()
    await store.flush()
    assert undone == ["job", "next"]
    keys = ("job", "end", "late", "next", "other")
    assert [store.get("meta", key) for key in keys] == [None, None, None, None, b"1"]
    assert accept.refused
    assert not other.refused


async def test_a_callback_that_raises_hurts_no_other(store: JobStore, disk: Disk) -> None:
    told: list[str] = []
    store.write(put("a"), lambda: 1 / 0)  # type: ignore[arg-type, return-value]
    store.write(put("b"), lambda: told.append("b"))
    await store.flush()
    assert told == ["b"]


async def test_a_lazy_write_goes_with_the_next_one(store: JobStore, disk: Disk) -> None:
    lazy = store.write(put("lazy"), lazy=True)
    await asyncio.sleep(0.02)
    assert disk.commits == []
    await store.write(put("k")).settled()
    await lazy.settled()
    assert len(disk.commits) == 1


async def test_a_lazy_write_alone_has_its_commit_after_a_while(
    store: JobStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(commits, "_LAZY_SECONDS", 0.02)
    await asyncio.wait_for(store.write(put("lazy"), lazy=True).settled(), 1)


class Journal:
    """Keeps groups as they come; the first `unclear` calls raise after they were kept."""

    def __init__(self, unclear: int = 0) -> None:
        self.groups: list[dict[Any, Any]] = []
        self.unclear = unclear

    async def append(self, changes: Any) -> int:
        self.groups.append(dict(changes))
        if self.unclear:
            self.unclear -= 1
            raise OSError("no answer")
        return len(self.groups)


async def test_with_a_journal_nothing_counts_before_it_is_there(
    store: JobStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(unclear=1)
    monkeypatch.setattr(store._commits, "_journal", journal)
    undone: list[str] = []
    accept = store.write(put("job"), undo=lambda: undone.append("job"))
    kept = store.write(put("end"))
    with pytest.raises(StoreUnavailable):
        await accept.settled()
    assert disk.commits == []
    await kept.committed()
    assert undone == ["job"]
    assert journal.groups[1].keys() >= {("meta", "end")}
    assert ("meta", "job") not in journal.groups[1]
    assert store.number("journalSequence") == 2


async def test_what_the_journal_has_is_not_taken_back_when_the_disk_is_full(
    store: JobStore, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal()
    monkeypatch.setattr(store._commits, "_journal", journal)
    undone: list[str] = []
    disk.full = True
    accept = store.write(put("job"), undo=lambda: undone.append("job"))
    await asyncio.sleep(0.1)
    assert not store.writable
    assert store.number("job") == 0
    disk.full = False
    await accept.settled()
    assert (undone, len(journal.groups)) == ([], 1)
    assert store.number("job") == 1
    assert store.writable
