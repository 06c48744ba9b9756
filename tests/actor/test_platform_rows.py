from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from apify_client import ApifyClientAsync

from async_endpoint.actor import platform_rows
from async_endpoint.actor.platform_rows import PlatformRows, cut_row
from async_endpoint.actor.rows import Row
from tests.platform.api import DATASET_ID
from tests.platform.standin import TOKEN, StandIn
from tests.platform.storage import Fault, chaos

if TYPE_CHECKING:
    from collections.abc import Iterator

PUSH = "^POST .*/items"
LIST = "^GET .*/items"


@pytest.fixture
def platform() -> Iterator[StandIn]:
    with StandIn() as standin:
        yield standin


@pytest.fixture
def rows(platform: StandIn) -> PlatformRows:
    client = ApifyClientAsync(TOKEN, api_url=platform.url, max_retries=0)
    return PlatformRows(client.dataset(DATASET_ID))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_rows, "_SETTLE_GAPS", (0.1, 0.2, 0.4))
    monkeypatch.setattr(platform_rows, "_RETRY_GAPS", (0.01, 0.05))
    monkeypatch.setattr(platform_rows, "_TIMEOUT", platform_rows._TIMEOUT / 20)


def some(count: int, start: int = 0, **more: Any) -> list[Row]:
    numbers = range(start, start + count)
    items = [{"jobId": f"job-{n}", "task": {}, "result": None} | more for n in numbers]
    return [
        Row(n + 1, item["jobId"], json.dumps(item).encode()) for n, item in zip(numbers, items, strict=True)
    ]


def ids(platform: StandIn) -> list[str]:
    return [item["jobId"] for _, item in platform.storage.items]


async def test_rows_are_pushed_in_order_and_in_batches(platform: StandIn, rows: PlatformRows) -> None:
    await rows.append(some(1200))
    assert ids(platform) == [f"job-{n}" for n in range(1200)]
    assert platform.meter.count("push") == 3


async def test_batches_stay_below_a_megabyte(platform: StandIn, rows: PlatformRows) -> None:
    await rows.append(some(30, result="x" * 100_000))
    assert platform.meter.largest("push") <= 1_000_100
    assert len(ids(platform)) == 30


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", PUSH, 429, times=2),
        Fault("status", PUSH, 500, times=2),
        Fault("status", PUSH, 500, applied=True, times=1),
        Fault("status", PUSH, 502, applied=True, times=1),
        Fault("cut", PUSH, times=2),
        Fault("cut", PUSH, applied=True, times=1),
        Fault("hang", PUSH, times=1, seconds=2),
        Fault("hang", PUSH, applied=True, times=1, seconds=2),
        Fault("late", PUSH, times=1, seconds=0.25),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.applied}",
)
async def test_each_row_is_there_once_after_a_push_that_failed(
    platform: StandIn, rows: PlatformRows, fault: Fault
) -> None:
    await rows.append(some(10))
    platform.faults = [fault]
    await rows.append(some(700, start=10))
    assert ids(platform) == [f"job-{n}" for n in range(710)]


async def test_a_read_that_lags_is_repeated_before_the_rows_count_as_missing(
    platform: StandIn, rows: PlatformRows
) -> None:
    platform.lag = 0.3
    platform.faults = [Fault("status", PUSH, 500, applied=True, times=1)]
    await rows.append(some(20))
    assert ids(platform) == [f"job-{n}" for n in range(20)]


async def test_a_read_that_fails_is_repeated(platform: StandIn, rows: PlatformRows) -> None:
    platform.faults = [Fault("status", PUSH, 500, applied=True, times=1), Fault("cut", LIST, times=3)]
    await rows.append(some(20))
    assert ids(platform) == [f"job-{n}" for n in range(20)]


async def test_rows_wait_for_an_api_that_is_down(platform: StandIn, rows: PlatformRows) -> None:
    platform.faults = [Fault("status", ".*", 503)]
    pending = asyncio.create_task(rows.append(some(5)))
    await asyncio.sleep(1.5)
    assert not pending.done()
    platform.faults = []
    await asyncio.wait_for(pending, 5)
    assert len(ids(platform)) == 5


async def test_a_restart_finds_how_many_rows_are_there(platform: StandIn, rows: PlatformRows) -> None:
    await rows.append(some(30))
    assert await rows.present(some(20, start=20)) == 10
    assert await rows.present(some(20, start=10)) == 20
    assert await rows.present(some(20, start=30)) == 0
    assert await rows.present([]) == 0


async def test_a_restart_waits_for_rows_that_show_up_late(platform: StandIn, rows: PlatformRows) -> None:
    await rows.append(some(10))
    await asyncio.sleep(0.3)
    platform.lag = 0.25
    await rows.append(some(10, start=10))
    assert await rows.present(some(20)) == 20


async def test_a_row_above_the_limit_is_stored_with_its_result_cut(
    platform: StandIn, rows: PlatformRows
) -> None:
    await rows.append([*some(1), *some(1, start=1, result="ü" * 5_000_000), *some(1, start=2)])
    small, large, other = (item for _, item in platform.storage.items)
    assert (small["result"], other["result"]) == (None, None)
    assert set(large) == {"jobId", "task", "result"}
    assert "9,000,000" in large["result"]["note"]
    assert large["result"]["excerpt"].startswith('"üüü')


async def test_a_row_that_the_api_finds_too_large_is_cut(platform: StandIn, rows: PlatformRows) -> None:
    platform.faults = [Fault("status", PUSH, 413, times=1)]
    await rows.append(some(1, result="x" * 3_000_000))
    ((_, item),) = platform.storage.items
    assert item["result"]["excerpt"] == '"' + "x" * 49_999


def test_a_task_is_cut_only_where_the_result_was_not_enough() -> None:
    row = Row(1, "a", json.dumps({"task": "t" * 9000, "result": "r" * 9000}).encode())
    assert json.loads(cut_row(row, 10_000).text)["task"] == "t" * 9000
    assert "note" in json.loads(cut_row(row, 5_000).text)["task"]
    assert len(cut_row(row, 5_000).text) <= 5_000
    assert cut_row(row, 20_000) is row


async def test_while_a_fifth_of_all_calls_fails_each_row_is_there_once(
    platform: StandIn, rows: PlatformRows
) -> None:
    platform.faults = chaos(0.2, hang_seconds=0.4)
    for n in range(0, 400, 10):
        await rows.append(some(10, start=n))
    platform.faults = []
    await asyncio.sleep(0.6)
    assert ids(platform) == [f"job-{n}" for n in range(400)]
