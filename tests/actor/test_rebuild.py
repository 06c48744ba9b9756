from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from async_endpoint.actor import head, snapshots
from async_endpoint.actor import records as records_module
from async_endpoint.actor import replica as replica_module
from async_endpoint.actor.records import RecordsError
from async_endpoint.actor.segments import PREFIX
from async_endpoint.errors import StoreError
from tests.actor.machines import PUT, compact_early
from tests.platform.storage import Fault

if TYPE_CHECKING:
    from tests.actor.machines import Open
    from tests.platform.standin import StandIn


def segments(platform: StandIn) -> list[str]:
    return [key for key in platform.storage.sizes() if "segment" in key]


async def test_segments_become_a_snapshot_and_are_removed_after_it(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact_early(monkeypatch, size=300_000, pause=0.0)
    first = await machine()
    for n in range(60):
        await first.commit(f"a{n}", value=os.urandom(20_000))
    await first.compacted()
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
    await first.compacted()
    assert platform.meter.count("delete-record") == 0
    assert (await machine()).committed() == {f"a{n}" for n in range(10)}


async def test_a_replica_with_a_gap_is_refused(machine: Open, platform: StandIn) -> None:
    first = await machine()
    for n in range(3):
        await first.commit(f"a{n}", value=os.urandom(70_000))
    platform.storage.put(segments(platform)[1], None)
    with pytest.raises(StoreError, match=r"changes 2 to 2 are missing.*Nothing was changed.*" + PREFIX):
        await machine()


async def test_a_damaged_record_is_refused(machine: Open, platform: StandIn) -> None:
    await (await machine()).commit("a")
    (key,) = segments(platform)
    platform.storage.put(key, platform.storage.record(key)[0][:-1])  # type: ignore[index]
    with pytest.raises(StoreError, match="damaged"):
        await machine()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"format":1}', b'{"format":2}'])
async def test_a_damaged_head_is_refused(machine: Open, platform: StandIn, body: bytes) -> None:
    await (await machine()).commit("a")
    platform.storage.put(head.KEY, body)
    with pytest.raises(StoreError, match=head.KEY):
        await machine()


async def test_a_snapshot_with_a_damaged_part_is_refused_when_nothing_else_has_its_changes(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 1)
    first = await machine()
    await first.commit("a")
    await first.compacted()
    (part,) = (key for key in platform.storage.sizes() if key.endswith("-0000"))
    platform.storage.put(part, b"nonsense")
    with pytest.raises(StoreError, match="damaged"):
        await machine()


@pytest.mark.parametrize("damaged", [False, True])
async def test_a_snapshot_of_many_parts_is_read(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch, damaged: bool
) -> None:
    monkeypatch.setattr(snapshots, "MAX_RECORD_BYTES", 2 * snapshots._CHUNK)
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 6_000_000)
    platform.faults = [Fault("status", "^DELETE", 500)]
    first = await machine()
    for n in range(3):
        await first.commit(f"a{n}", value=os.urandom(2_200_000))
    await first.compacted()
    await first.commit("last", value=bytes(9_000_000))
    parts = [key for key in platform.storage.sizes() if "snapshot" in key][1:]
    assert len(parts) > snapshots._PARALLEL_READS
    if damaged:
        platform.storage.put(parts[-1], b"nonsense")
    second = await machine()
    assert second.committed() == {"a0", "a1", "a2", "last"}


async def test_an_older_snapshot_is_as_good_where_all_changes_after_it_are_there(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    compact_early(monkeypatch, size=1, pause=0.0)
    first = await machine()
    platform.faults = [Fault("status", "^DELETE", 500)]
    for n in range(3):
        await first.commit(f"a{n}")
        await first.compacted()
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
    assert len(segments(platform)) == 1005
    assert len((await machine()).committed()) == 1005


async def test_what_a_lost_machine_left_behind_is_removed(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 1)
    first = await machine()
    platform.faults = [Fault("status", "^DELETE", 500)]
    await first.commit("a")
    await first.compacted()
    await first.die()
    platform.faults = []
    second = await machine()
    await second.commit("b")
    await second.compacted()
    assert len(platform.storage.sizes()) == 3, "the head, and one snapshot: its manifest and its part"
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


async def test_a_list_of_keys_that_lags_does_not_hide_a_whole_epoch(machine: Open, platform: StandIn) -> None:
    platform.lag = 10
    for expected in (set[str](), {"a"}, {"a", "b"}, {"a", "b", "c"}):
        current = await machine()
        assert current.committed() == expected
        await current.commit("abcd"[len(expected)])
        await current.die()
    assert platform.storage.sizes(platform.lag) == {}


async def test_a_list_of_keys_that_lags_does_not_hide_a_snapshot(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list shows segments that are removed, and neither the snapshot nor the segments after it."""
    monkeypatch.setattr(replica_module, "_COMPACT_BYTES", 300_000)
    first = await machine()
    for n in range(3):
        await first.commit(f"a{n}", value=os.urandom(70_000))
    listed = segments(platform)
    began = time.monotonic()
    for n in range(3):
        await first.commit(f"b{n}", value=os.urandom(70_000))
    await first.compacted()
    assert not set(listed) & set(segments(platform))
    await first.commit("last")
    await first.die()
    platform.lag = time.monotonic() - began
    assert sorted(platform.storage.sizes(platform.lag)) == [head.KEY, *listed]
    expected = {"last", *(f"{letter}{n}" for letter in "ab" for n in range(3))}
    assert (await machine()).committed() == expected


async def test_segments_are_found_beyond_one_that_was_never_written(machine: Open, platform: StandIn) -> None:
    platform.lag = 10
    first = await machine()
    await first.commit("a")
    platform.faults = [Fault("status", PUT, 503)]
    for _ in range(2):
        with pytest.raises(RecordsError):
            await first.commit("refused")
    platform.faults = []
    await first.commit("b")
    await first.die()
    assert (await machine()).committed() == {"a", "b"}


async def test_a_replica_whose_newest_changes_are_not_there_is_refused(
    machine: Open, platform: StandIn
) -> None:
    await (await machine()).commit("a")
    await (await machine()).commit("b")
    for key in segments(platform):
        platform.storage.put(key, None)
    with pytest.raises(StoreError, match="changes up to 1 are missing"):
        await machine()
