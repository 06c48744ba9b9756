from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from apify_client import ApifyClientAsync

from async_endpoint.actor import charging, till
from async_endpoint.actor.budget import Budget
from async_endpoint.actor.charging import Charging
from async_endpoint.actor.till import RunTill
from async_endpoint.errors import CostLimitReached
from async_endpoint.jobs.clock import JobIds
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.model import Job, JobStatus
from async_endpoint.jobs.records import encode
from async_endpoint.jobs.store import JobStore
from tests.platform.api import PRICING, RUN_ID
from tests.platform.standin import TOKEN, StandIn
from tests.platform.storage import Fault, chaos

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

CHARGE = "^POST .*/charge"
PLENTY = Decimal("Infinity")
IDS = JobIds()


@pytest.fixture
def platform() -> Iterator[StandIn]:
    with StandIn() as standin:
        standin.pricing = PRICING
        yield standin


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charging, "_COLLECT_SECONDS", 0.02)
    monkeypatch.setattr(charging, "_RETRY_GAPS", (0.01, 0.05))
    monkeypatch.setattr(charging, "_CALM_SECONDS", 0.05)
    monkeypatch.setattr(till, "_TIMEOUT", till._TIMEOUT / 10)


class Shop:
    """A store and what charges for its jobs; can be closed and opened again."""

    def __init__(self, path: Path, platform: StandIn, limit: Decimal = PLENTY) -> None:
        self.path, self.platform, self.limit = path, platform, limit
        self.row = self.active = 0
        self.row_price = Decimal(0)
        self.secured = asyncio.Event()
        self.secured.set()

    async def open(self) -> Shop:
        client = ApifyClientAsync(TOKEN, api_url=self.platform.url, max_retries=0)
        self.store = JobStore(self.path)
        await self.store.open()
        charged = self.platform.storage.charged["completed-job"]
        self.charging = Charging(
            self.store,
            RunTill(client.run(RUN_ID)),
            Budget(self.limit, Decimal("0.01") * charged, event=Decimal("0.01"), row=self.row_price),
            charged=charged,
            active=lambda: self.active,
            secure=self.secure,
        )
        self.charging.start()
        return self

    async def close(self) -> None:
        await self.charging.close()
        await self.store.close()

    async def secure(self) -> None:
        await self.secured.wait()

    async def end(self, count: int, status: JobStatus = JobStatus.COMPLETED) -> None:
        """Jobs end in one commit."""
        rows = range(self.row + 1, self.row + count + 1)
        jobs = [Job(IDS(), "echo", b"{}", 1, status=status, finished_at=2, row=row) for row in rows]
        self.row += count
        await self.store.write([Change("jobs", job.id, encode(job)) for job in jobs]).settled()
        for job in jobs:
            self.charging.ended(job)

    async def settle(self) -> int:
        await asyncio.wait_for(self.charging.flush(), 10)
        return self.platform.storage.charged["completed-job"]


@pytest.fixture
async def shop(tmp_path: Path, platform: StandIn) -> AsyncIterator[Shop]:
    opened = await Shop(tmp_path / "jobs.sqlite", platform).open()
    yield opened
    await opened.close()


async def test_completed_jobs_are_charged_in_batches_and_others_never(shop: Shop) -> None:
    await shop.end(30)
    await shop.end(5, JobStatus.FAILED)
    await shop.end(5, JobStatus.CANCELLED)
    await shop.end(3)
    assert await shop.settle() == 33
    counts = [count for _, count, _ in shop.platform.storage.charge_calls]
    assert counts in ([33], [30, 3]), "one call for all jobs that ended in one commit"
    assert shop.charging.settled == 43


async def test_jobs_that_end_while_a_call_is_open_are_charged_with_the_next(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(till, "_TIMEOUT", till._TIMEOUT * 10)
    shop.platform.faults = [Fault("hang", CHARGE, times=1, seconds=2)]
    await shop.end(1)
    await asyncio.sleep(0.2)
    for _ in range(5):
        await shop.end(4)
    assert await shop.settle() == 21
    assert [count for _, count, _ in shop.platform.storage.charge_calls] == [1, 20]


async def test_nothing_is_charged_before_the_batch_would_survive_the_machine(shop: Shop) -> None:
    shop.secured.clear()
    await shop.end(2)
    await asyncio.sleep(0.2)
    assert not shop.platform.meter.count("charge")
    shop.secured.set()
    assert await shop.settle() == 2


async def test_a_stop_does_not_wait_for_more_to_be_charged(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charging, "_COLLECT_SECONDS", 60.0)
    await shop.settle()
    await shop.end(2)
    assert await shop.settle() == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", CHARGE, 429, times=2),
        Fault("status", CHARGE, 500, times=2),
        Fault("status", CHARGE, 500, applied=True, times=2),
        Fault("cut", CHARGE, applied=True, times=2),
        Fault("hang", CHARGE, applied=True, times=1, seconds=1),
        Fault("late", CHARGE, times=1, seconds=0.1),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.status}-{fault.applied}",
)
async def test_each_job_is_charged_once_when_a_call_fails(shop: Shop, fault: Fault) -> None:
    shop.platform.faults = [fault]
    await shop.end(7)
    assert await shop.settle() == 7
    await shop.end(2)
    assert await shop.settle() == 9


async def test_a_restart_repeats_the_open_call_under_its_key(shop: Shop) -> None:
    shop.platform.faults = [Fault("status", CHARGE, 500, applied=True)]
    await shop.end(4)
    await asyncio.sleep(0.3)
    await shop.close()
    shop.platform.faults = []
    await shop.open()
    await shop.end(1)
    assert await shop.settle() == 5


@pytest.mark.parametrize("applied", [True, False])
async def test_once_the_key_is_forgotten_the_count_of_the_run_decides(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, applied: bool
) -> None:
    await shop.end(3)
    await shop.settle()
    shop.platform.faults = [Fault("status", CHARGE, 500, applied=applied)]
    await shop.end(4)
    await asyncio.sleep(0.3)
    await shop.close()
    shop.platform.faults = []
    shop.platform.storage.charge_keys.clear()
    monkeypatch.setattr(charging, "_KEY_LIFETIME_MS", 100)
    await shop.open()
    await asyncio.sleep(0.2)
    monkeypatch.setattr(charging, "_KEY_LIFETIME_MS", 150_000)
    assert await shop.settle() == 7


async def test_in_doubt_nothing_is_charged_again(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.platform.faults = [Fault("status", CHARGE, 500)]
    await shop.end(4)
    await asyncio.sleep(0.3)
    await shop.close()
    shop.platform.faults = []
    shop.platform.storage.charged["completed-job"] = 2
    monkeypatch.setattr(charging, "_KEY_LIFETIME_MS", 100)
    await shop.open()
    assert await shop.settle() == 2
    monkeypatch.setattr(charging, "_KEY_LIFETIME_MS", 150_000)
    await shop.end(1)
    assert await shop.settle() == 3


async def test_a_charge_that_is_refused_does_not_hold_up_the_next(shop: Shop) -> None:
    shop.platform.faults = [Fault("status", CHARGE, 400, times=1)]
    await shop.end(4)
    assert await shop.settle() == 0
    await shop.end(1)
    assert await shop.settle() == 1


async def test_no_job_is_accepted_that_the_user_would_not_pay_for(tmp_path: Path, platform: StandIn) -> None:
    shop = await Shop(tmp_path / "jobs.sqlite", platform, Decimal("0.05")).open()
    shop.active = 4
    shop.charging.check()
    with pytest.raises(CostLimitReached):
        shop.charging.check(2)
    shop.active = 5
    with pytest.raises(CostLimitReached):
        shop.charging.check()
    await shop.end(3)
    shop.active = 1
    shop.charging.check()
    await shop.settle()
    shop.charging.check()
    shop.active = 2
    with pytest.raises(CostLimitReached):
        shop.charging.check()
    assert not shop.charging.exhausted.is_set()
    shop.active = 0
    await shop.end(3)
    assert await shop.settle() == 5
    await asyncio.wait_for(shop.charging.exhausted.wait(), 2)
    await shop.close()


@pytest.mark.parametrize("applied", [True, False])
async def test_what_is_being_charged_at_a_restart_counts_against_the_limit_once(
    tmp_path: Path, platform: StandIn, applied: bool
) -> None:
    shop = await Shop(tmp_path / "jobs.sqlite", platform, Decimal("0.05")).open()
    platform.faults = [Fault("status", CHARGE, 500, applied=applied)]
    await shop.end(3)
    await asyncio.sleep(0.3)
    await shop.close()
    platform.faults = []
    await shop.open()
    assert await shop.settle() == 3
    shop.active = 1
    shop.charging.check()
    shop.active = 2
    with pytest.raises(CostLimitReached):
        shop.charging.check()
    await shop.close()


async def test_jobs_that_ended_before_a_restart_count_against_the_limit(
    tmp_path: Path, platform: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await Shop(tmp_path / "jobs.sqlite", platform, Decimal("0.05")).open()
    await shop.end(2)
    await shop.settle()
    monkeypatch.setattr(charging, "_COLLECT_SECONDS", 60.0)
    await shop.end(2)
    await shop.end(9, JobStatus.FAILED)
    await shop.close()
    await shop.open()
    await asyncio.sleep(0.1)
    shop.charging.check()
    with pytest.raises(CostLimitReached):
        shop.charging.check(2)
    assert await shop.settle() == 4
    shop.charging.check()
    with pytest.raises(CostLimitReached):
        shop.charging.check(2)
    await shop.close()


def test_a_budget_without_limit_or_price_covers_everything() -> None:
    for limit, spent, event in ((PLENTY, 3, Decimal("0.01")), (Decimal(1), 3, Decimal(0))):
        budget = Budget(limit, Decimal(spent), event=event)
        assert budget.take(10**9) == 10**9
        assert budget.covers(10**9)
    assert not Budget(Decimal(1), Decimal(3), event=Decimal("0.01")).covers(1)


async def test_rows_of_jobs_that_did_not_complete_count_where_they_cost(
    tmp_path: Path, platform: StandIn
) -> None:
    shop = Shop(tmp_path / "jobs.sqlite", platform, Decimal("0.1"))
    shop.row_price = Decimal("0.01")
    await shop.open()
    shop.charging.check(5)
    await shop.end(6, JobStatus.FAILED)
    await shop.settle()
    shop.charging.check(2)
    with pytest.raises(CostLimitReached):
        shop.charging.check(3)
    await shop.end(1)
    await shop.end(2, JobStatus.FAILED)
    assert await shop.settle() == 1
    with pytest.raises(CostLimitReached):
        shop.charging.check()
    await asyncio.wait_for(shop.charging.exhausted.wait(), 2)
    await shop.close()


async def test_while_a_fifth_of_all_calls_fails_each_job_is_charged_once(shop: Shop) -> None:
    shop.platform.faults = chaos(0.2, hang_seconds=0.4)
    for _ in range(25):
        await shop.end(3)
        await asyncio.sleep(0.03)
        if shop.platform.dice.random() < 0.2:
            await shop.close()
            await shop.open()
    await shop.settle()
    shop.platform.faults = []
    await asyncio.sleep(0.5)
    assert shop.platform.storage.charged["completed-job"] == 75
