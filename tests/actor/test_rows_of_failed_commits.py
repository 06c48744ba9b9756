"""Rows stay gapless, in order and each there once, whatever the key-value store does with the commits."""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING

import pytest
from apify_client import ApifyClientAsync

from async_endpoint.actor import platform_rows
from async_endpoint.actor import records as records_module
from async_endpoint.actor import replica as replica_module
from async_endpoint.actor.platform_rows import PlatformRows
from async_endpoint.actor.records import Records
from async_endpoint.actor.replica import Replica
from async_endpoint.actor.rows import RowWriter
from async_endpoint.errors import ServiceError
from async_endpoint.jobs import commits
from async_endpoint.jobs.dispatcher import Limits
from async_endpoint.jobs.metrics import Metrics
from async_endpoint.jobs.registry import JobRegistry
from async_endpoint.jobs.store import JobStore
from tests.actor.machines import PUT
from tests.jobs.virtual import Scripted, task_of
from tests.platform.api import DATASET_ID, STORE_ID
from tests.platform.standin import TOKEN, StandIn
from tests.platform.storage import Fault, chaos

if TYPE_CHECKING:
    from pathlib import Path

    from async_endpoint.jobs.attempts import Attempt
    from async_endpoint.jobs.model import Job


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replica_module, "_PATIENCE", 0.2)
    monkeypatch.setattr(replica_module, "_RETRY_GAPS", (0.02,))
    monkeypatch.setattr(records_module, "_SECONDS", 0.2)
    monkeypatch.setattr(records_module, "_READ_GAPS", (0.02,))
    monkeypatch.setattr(commits, "_RETRY_SECONDS", 0.03)
    monkeypatch.setattr("async_endpoint.jobs.registry._FLUSH_SECONDS", 0.1)
    monkeypatch.setattr("async_endpoint.jobs.store._FLUSH_AT_CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(platform_rows, "_SETTLE_GAPS", (0.1, 0.2, 0.4))
    monkeypatch.setattr(platform_rows, "_RETRY_GAPS", (0.02,))
    monkeypatch.setattr(platform_rows, "_TIMEOUT", platform_rows._TIMEOUT / 50)


async def work(attempt: Attempt) -> None:
    await asyncio.sleep(json.loads(attempt.job.task)["s"])


class Told:
    """Notes the ends that were told, through all lives."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []

    def ended(self, job: Job) -> None:
        self.jobs.append(job)


class Life:
    """A registry on an empty disk over the replica, with the rows that it owes, until the machine is lost."""

    def __init__(self, folder: Path, platform: StandIn, told: Told) -> None:
        self._told = told
        self._path = folder / "jobs.sqlite"
        self._platform = platform

    async def start(self) -> None:
        self.replica = Replica(Records(TOKEN, self._platform.url, STORE_ID))
        changes = await self.replica.restore(self._path)
        self.store = JobStore(self._path, journal=self.replica)
        await self.store.open()
        self.store.database.apply(changes)
        self.replica.start(self.store.database.copy)
        client = ApifyClientAsync(TOKEN, api_url=self._platform.url, max_retries=0)
        self.rows = RowWriter(self.store, PlatformRows(client.dataset(DATASET_ID)))
        handlers = {"free": Scripted(work, effect_free=True), "plain": Scripted(work)}
        self.registry = JobRegistry(
            self.store,
            handlers,
            Limits(max_concurrent=30),
            metrics=Metrics(),
            observers=[self._told, self.rows],
        )
        await self.registry.start()
        self._writing = asyncio.create_task(self.rows.run())

    async def lose(self) -> None:
        """The machine is gone: what has not reached the platform is lost."""
        self._platform.faults = [Fault("cut", ".*")]
        for task in (self._writing, *self.replica._tasks):
            task.cancel()
        await self.registry.drain(0)
        await self.store.close()


async def submit(life: Life, dice: random.Random) -> None:
    """A client that goes on after refusals, and cancels now and then."""
    while True:
        kinds = [{"type": dice.choice(("free", "plain")), "s": dice.choice((0, 0, 0.01, 0.2))}]
        try:
            accepted = await life.registry.submit([task_of(kind) for kind in kinds * dice.choice((1, 1, 3))])
            if dice.random() < 0.2:
                await life.registry.cancel(accepted.jobs[0].id)
        except ServiceError:
            await asyncio.sleep(0.02)
        await asyncio.sleep(dice.choice((0, 0, 0.005)))


async def live(life: Life, dice: random.Random, seconds: float) -> None:
    """Clients submit for so long."""
    clients = [asyncio.create_task(submit(life, dice)) for _ in range(6)]
    await asyncio.sleep(seconds)
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 9))])
async def test_rows_are_gapless_in_order_and_there_once(tmp_path: Path, seed: int) -> None:
    dice, told = random.Random(seed), Told()
    with StandIn() as platform:
        for number in range(4):
            life = Life(tmp_path / str(number), platform, told)
            await life.start()
            for faults in (chaos(0.3, hang_seconds=0.3), [Fault("hang", PUT, applied=True, seconds=0.3)], []):
                platform.faults = faults
                await live(life, dice, dice.uniform(0.1, 0.6))
            await life.lose()
            platform.faults = []
        last = Life(tmp_path / "last", platform, told)
        await last.start()
        while last.registry.running + last.registry.queued:
            await asyncio.sleep(0.02)
        await last.store.flush()
        await asyncio.wait_for(last.rows.flush(), 20)
        ended = await last.store.ended_after(0, 100_000)
        await last.lose()
        assert len(ended) > 100
        assert [job.row for job in ended] == list(range(1, len(ended) + 1))
        assert [item["jobId"] for _, item in platform.storage.items] == [job.id for job in ended]
        assert [job.row for job in told.jobs] == sorted({job.row or 0 for job in told.jobs})
        assert {(job.row, job.id) for job in told.jobs} <= {(job.row, job.id) for job in ended}
