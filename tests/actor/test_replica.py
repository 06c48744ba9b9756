from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from async_endpoint.actor import records as records_module
from async_endpoint.actor import replica as replica_module
from async_endpoint.actor.records import Records, RecordsError
from async_endpoint.actor.replica import Replica
from async_endpoint.actor.segments import PREFIX
from async_endpoint.errors import StoreError
from async_endpoint.jobs.database import Database
from tests.platform.api import STORE_ID
from tests.platform.standin import TOKEN, StandIn
from tests.platform.storage import Fault, chaos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

PUT = "^PUT .*/records/"
Open = Callable[..., Awaitable["Machine"]]


@pytest.fixture
def platform() -> Iterator[StandIn]:
    with StandIn() as standin:
        yield standin


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short patience, so that tests of a failing API take a second and not ten."""
    monkeypatch.setattr(replica_module, "_PATIENCE", 0.5)
    monkeypatch.setattr(records_module, "_SECONDS", 0.3)
    monkeypatch.setattr("async_endpoint.actor.rebuild._READ_AGAIN_SECONDS", (0.01,))


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


@pytest.fixture
async def machine(tmp_path: Path, platform: StandIn) -> AsyncIterator[Open]:
    opened: list[Machine] = []

    async def new(*, wait: bool = True) -> Machine:
        made = Machine(tmp_path / str(len(opened)), platform, wait=wait)
        await made.start()
        opened.append(made)
        return made

    yield new
    for each in opened:
        await each.die()


async def test_a_new_run_starts_empty(machine: Open) -> None:
    assert (await machine()).committed() == set()


async def test_what_was_appended_is_there_on_the_next_machine(machine: Open) -> None:
    first = await machine()
    for n in range(50):
        await first.commit(f"a{n}", f"b{n}")
    await first.die()
    second = await machine()
    assert second.committed() == first.committed()
    assert len(second.committed()) == 100
    await second.commit("more")
    assert "more" in (await machine()).committed()


async def test_small_groups_share_a_record(machine: Open, platform: StandIn) -> None:
    first = await machine()
    for n in range(40):
        await first.commit(f"a{n}")
    assert platform.meter.count("put-record") == 40
    assert len(platform.storage.sizes()) == 1


async def test_a_group_of_many_megabytes_is_written_in_records_below_the_limit(
    machine: Open, platform: StandIn
) -> None:
    first = await machine()
    await first.commit("a", "b", "c", value=os.urandom(7_000_000))
    await first.commit("d")
    assert 0 < platform.meter.largest("put-record") < 9_000_000
    assert (await machine()).committed() == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", PUT, 429, times=3),
        Fault("status", PUT, 500, times=2),
        Fault("status", PUT, 500, applied=True, times=2),
        Fault("cut", PUT, times=2),
        Fault("cut", PUT, applied=True, times=2),
        Fault("hang", PUT, times=1),
        Fault("late", PUT, times=1, seconds=0.6),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.applied}",
)
async def test_a_write_that_fails_is_tried_again(machine: Open, platform: StandIn, fault: Fault) -> None:
    first = await machine()
    await first.commit("before")
    platform.faults = [fault]
    await first.commit("during")
    await first.commit("after")
    await asyncio.sleep(0.8 if fault.kind == "late" else 0)
    assert (await machine()).committed() == {"before", "during", "after"}


async def test_a_write_that_arrives_late_does_not_undo_a_later_one(machine: Open, platform: StandIn) -> None:
    first = await machine()
    await first.commit("before")
    platform.faults = [Fault("late", PUT, times=1, seconds=0.5)]
    await first.commit("during")
    for n in range(5):
        await first.commit(f"after{n}")
    await asyncio.sleep(0.7)
    assert (await machine()).committed() == {"before", "during", *(f"after{n}" for n in range(5))}


async def test_a_group_that_failed_is_void_once_the_next_one_is_written(
    machine: Open, platform: StandIn
) -> None:
    first = await machine()
    await first.commit("before")
    platform.faults = [Fault("status", PUT, 500, applied=True)]
    with pytest.raises(RecordsError):
        await first.commit("refused")
    platform.faults = []
    await first.commit("after")
    assert (await machine()).committed() == {"before", "after"}


async def test_segments_become_a_snapshot_and_are_removed_after_it(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 300_000)
    monkeypatch.setattr(replica_module, "_COMPACT_PAUSE", 0.0)
    monkeypatch.setattr(replica_module, "_COMPACT_SHARE", 0)
    first = await machine()
    for n in range(60):
        await first.commit(f"a{n}", value=os.urandom(20_000))
    while first.replica._compacting:
        await asyncio.sleep(0.01)
    await first.commit("last")
    kept = platform.storage.sizes()
    assert any("snapshot" in key for key in kept)
    assert sum("segment" in key for key in kept) < 20
    removals = [call.at for call in platform.meter.calls if call.name == "delete-record"]
    manifest = next(call.at for call in platform.meter.calls if "snapshot" in call.path and call.size < 1000)
    assert removals
    assert min(removals) > manifest
    assert (await machine()).committed() == {"last", *(f"a{n}" for n in range(60))}


async def test_a_snapshot_that_fails_is_put_off_and_nothing_is_removed(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 100_000)
    first = await machine()
    platform.faults = [Fault("status", "^PUT .*snapshot", 500, applied=True)]
    for n in range(10):
        await first.commit(f"a{n}", value=os.urandom(20_000))
    while first.replica._compacting:
        await asyncio.sleep(0.01)
    assert platform.meter.count("delete-record") == 0
    assert (await machine()).committed() == {f"a{n}" for n in range(10)}


async def test_a_replica_with_a_gap_is_refused(machine: Open, platform: StandIn) -> None:
    first = await machine()
    for n in range(3):
        await first.commit(f"a{n}", value=os.urandom(70_000))
    platform.storage.put(sorted(platform.storage.sizes())[1], None)
    with pytest.raises(StoreError, match=r"changes 2 to 2 are missing.*Nothing was changed.*" + PREFIX):
        await machine()


async def test_a_damaged_record_is_refused(machine: Open, platform: StandIn) -> None:
    await (await machine()).commit("a")
    (key,) = platform.storage.sizes()
    platform.storage.put(key, platform.storage.record(key)[0][:-1])  # type: ignore[index]
    with pytest.raises(StoreError, match="damaged"):
        await machine()


async def test_a_snapshot_with_a_damaged_part_is_refused_when_nothing_else_has_its_changes(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 1)
    first = await machine()
    await first.commit("a")
    while first.replica._compacting:
        await asyncio.sleep(0.01)
    (part,) = (key for key in platform.storage.sizes() if key.endswith("-0000"))
    platform.storage.put(part, b"nonsense")
    with pytest.raises(StoreError, match="damaged"):
        await machine()


async def test_an_older_snapshot_is_as_good_where_all_changes_after_it_are_there(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 1)
    monkeypatch.setattr(replica_module, "_COMPACT_PAUSE", 0.0)
    monkeypatch.setattr(replica_module, "_COMPACT_SHARE", 0)
    first = await machine()
    platform.faults = [Fault("status", "^DELETE", 500)]
    for n in range(3):
        await first.commit(f"a{n}")
        while first.replica._compacting:
            await asyncio.sleep(0.01)
    newest = max(key for key in platform.storage.sizes() if key.endswith("-0000"))
    platform.storage.put(newest, b"nonsense")
    platform.faults = []
    assert (await machine()).committed() == {"a0", "a1", "a2"}


async def test_a_start_waits_for_an_api_that_fails(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "_READ_GAPS", (0.01,))
    await (await machine()).commit("a")
    platform.faults = [
        Fault("status", "^GET .*/keys", 500, times=3),
        Fault("cut", "^GET .*/records", times=3),
    ]
    assert (await machine()).committed() == {"a"}


async def test_a_start_gives_up_an_api_that_fails_for_long(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records_module, "_READ_GAPS", (0.01,))
    monkeypatch.setattr(records_module, "_READ_PATIENCE", 0.1)
    platform.faults = [Fault("status", "^GET .*/keys", 500)]
    with pytest.raises(StoreError, match="the key-value store cannot be read"):
        await machine()


async def test_a_replica_of_more_than_a_page_of_keys_is_read(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_SEGMENT_BYTES", 0)
    monkeypatch.setattr(replica_module, "_COMPACT_SEGMENTS", 10_000)
    monkeypatch.setattr(records_module, "_CALLS_PER_SECOND", 10_000)
    platform.enforce_rates = False
    first = await machine()
    for n in range(1005):
        await first.commit(f"a{n}")
    assert len(platform.storage.sizes()) == 1005
    assert len((await machine()).committed()) == 1005


async def test_durability_snapshot_waits_when_too_much_is_not_written(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_BUFFER_BYTES", 10_000)
    first = await machine(wait=False)
    await first.commit("a", value=os.urandom(20_000))
    assert platform.meter.count("put-record") == 0
    await first.commit("b")
    assert platform.meter.count("put-record") == 1


async def test_what_a_lost_machine_left_behind_is_removed(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 1)
    first = await machine()
    platform.faults = [Fault("status", "^DELETE", 500)]
    await first.commit("a")
    while first.replica._compacting:
        await asyncio.sleep(0.01)
    await first.die()
    platform.faults = []
    second = await machine()
    await second.commit("b")
    while second.replica._compacting:
        await asyncio.sleep(0.01)
    assert len(platform.storage.sizes()) == 2, "one snapshot: its manifest and its part"
    assert (await machine()).committed() == {"a", "b"}


async def test_a_list_of_keys_that_lags_hides_nothing_of_the_last_epoch(
    machine: Open, platform: StandIn
) -> None:
    first = await machine()
    await first.commit("a", value=os.urandom(70_000))
    await asyncio.sleep(0.4)
    platform.lag = 0.35
    for n in range(4):
        await first.commit(f"b{n}", value=os.urandom(70_000))
    assert (await machine()).committed() == {"a", "b0", "b1", "b2", "b3"}


async def test_durability_snapshot_answers_at_once_and_writes_within_a_second(
    machine: Open, platform: StandIn
) -> None:
    first = await machine(wait=False)
    platform.latency = 0.1
    for n in range(20):
        await first.commit(f"a{n}")
    assert platform.meter.count("put-record") <= 1
    await asyncio.sleep(1.0)
    assert platform.meter.count("put-record") <= 3
    await first.die()
    assert (await machine()).committed() == {f"a{n}" for n in range(20)}


async def test_durability_snapshot_writes_at_once_when_asked(machine: Open) -> None:
    first = await machine(wait=False)
    await first.commit("a")
    await first.replica.flush()
    await first.die()
    assert (await machine()).committed() == {"a"}


async def test_durability_snapshot_keeps_what_could_not_be_written(machine: Open, platform: StandIn) -> None:
    first = await machine(wait=False)
    platform.faults = [Fault("status", PUT, 500)]
    await first.commit("a")
    with pytest.raises(RecordsError):
        await first.replica.flush()
    platform.faults = []
    await first.commit("b")
    await first.replica.close()
    assert (await machine()).committed() == {"a", "b"}


async def test_no_confirmed_group_is_lost_while_a_fifth_of_all_calls_fails(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 200_000)
    monkeypatch.setattr(replica_module, "_COMPACT_PAUSE", 0.1)
    monkeypatch.setattr(replica_module, "_COMPACT_SHARE", 0)
    platform.faults = chaos(0.2, hang_seconds=0.4)
    confirmed: set[str] = set()
    for life in range(4):
        current = await machine()
        assert confirmed <= current.committed()
        for n in range(25):
            key = f"{life}-{n}"
            try:
                await current.commit(key, value=os.urandom(9000))
            except RecordsError:
                continue
            confirmed.add(key)
        await current.die()
    assert len(confirmed) > 80
    assert confirmed <= (await machine()).committed()


async def test_writes_keep_to_the_rate_of_the_platform(machine: Open, platform: StandIn) -> None:
    first = await machine()
    for n in range(300):
        await first.commit(f"a{n}")
    assert platform.meter.busiest_second("put-record") <= 200
    assert not platform.meter.refused
