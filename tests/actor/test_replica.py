from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from async_endpoint.actor import replica as replica_module
from async_endpoint.actor.records import RecordsError
from tests.actor.machines import PUT, compact_early
from tests.platform.storage import Fault, chaos

if TYPE_CHECKING:
    from tests.actor.machines import Open
    from tests.platform.standin import StandIn


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
    assert platform.meter.count("put-record") == 41, "one for each, and the head"
    assert len(platform.storage.sizes()) == 2


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


async def test_durability_snapshot_waits_when_too_much_is_not_written(
    machine: Open, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica_module, "_BUFFER_BYTES", 10_000)
    first = await machine(wait=False)
    await first.commit("a", value=os.urandom(20_000))
    assert platform.meter.count("put-record") == 0
    await first.commit("b")
    assert platform.meter.count("put-record") == 2, "the head, and what waited"


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
    compact_early(monkeypatch, size=200_000, pause=0.1)
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
