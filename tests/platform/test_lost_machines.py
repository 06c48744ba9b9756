"""A run whose machine is lost again and again, under load: nothing acknowledged is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.platform.api import PRICING
from tests.platform.harness import ROOT, Clients, Run, rows_of, unfinished
from tests.platform.standin import StandIn
from tests.platform.storage import chaos

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def platform() -> Iterator[StandIn]:
    with StandIn(latency=0.01, lag=0.5) as standin:
        standin.pricing = PRICING
        yield standin


async def lose_machines(run: Run, times: int, *, announced: float, seed: int) -> Clients:
    """Load the run and lose its machine so many times; this share of the losses is announced before."""
    dice = random.Random(seed)
    async with Clients(run, seed=seed) as clients:
        for _ in range(times):
            await run.start()
            await asyncio.sleep(dice.uniform(0.2, 1.5))
            if dice.random() < announced:
                await migrate(run, dice.uniform(0.0, 3.0))
            await run.kill()
        await run.start()
        await asyncio.sleep(0.5)
    return clients


async def migrate(run: Run, patience: float) -> None:
    """Announce a migration and wait until the run asks for its reboot, at most `patience` seconds."""
    reboots = run.platform.reboots
    run.platform.send_event("migrating")
    for _ in range(int(patience / 0.05)):
        await asyncio.sleep(0.05)
        assert run.alive, f"a process that ends while it migrates ends the run:\n{run.tail()}"
        if run.platform.reboots > reboots:
            return


def completed_rows(run: Run) -> int:
    return sum(row["status"] == "completed" for row in run.rows())


async def check(run: Run, clients: Clients) -> None:
    """Everything accepted has ended, with one row and one charge for each that completed."""
    assert not await unfinished(run, clients)
    assert not clients.regressions
    rows = await rows_of(run, clients.accepted)
    assert not set(clients.accepted) - set(rows)
    assert await run.stop() == 0, run.tail()
    rows = await rows_of(run, clients.accepted)
    assert [job for job, count in rows.items() if count > 1] == []
    assert run.platform.storage.charged["completed-job"] == completed_rows(run)
    assert not run.platform.meter.refused
    assert run.platform.meter.busiest_second("put-record") <= 200
    assert run.platform.meter.largest("put-record") < 9_000_000


async def test_nothing_is_lost_or_doubled(platform: StandIn, tmp_path: Path) -> None:
    run = Run(platform, tmp_path, {"maxConcurrentTasks": 20})
    clients = await lose_machines(run, 3, announced=0.5, seed=1)
    assert len(clients.accepted) > 100
    await check(run, clients)


async def test_nothing_is_lost_or_doubled_while_a_fifth_of_all_calls_fails(
    platform: StandIn, tmp_path: Path
) -> None:
    run = Run(platform, tmp_path, {"maxConcurrentTasks": 20})
    platform.faults = chaos(0.2, hang_seconds=0.3)
    clients = await lose_machines(run, 1, announced=0, seed=2)
    await asyncio.sleep(0.5)
    await check(run, clients)


async def test_the_harness_finds_losses(
    platform: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control: without the replica's writes acknowledged jobs are lost, and this is noticed."""
    (tmp_path / "forgetful.py").write_text(
        "from async_endpoint.actor.records import Records\n"
        "async def put(self, key, body):\n"
        "    pass\n"
        "Records.put = Records.put_in_background = put\n"
    )
    run = Run(
        platform, tmp_path, env={"ASYNC_ENDPOINT_HANDLERS": "forgetful", "PYTHONPATH": f"{ROOT}:{tmp_path}"}
    )
    clients = await lose_machines(run, 1, announced=0, seed=3)
    assert await unfinished(run, clients, timeout=3)
    assert any("answered 404" in each for each in clients.regressions)
    await run.kill()


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(2))
async def test_fifty_lost_machines(platform: StandIn, tmp_path: Path, seed: int) -> None:
    run = Run(platform, tmp_path, {"maxConcurrentTasks": 20})
    clients = await lose_machines(run, 25, announced=seed, seed=seed)
    await check(run, clients)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_ten_lost_machines_while_a_fifth_of_all_calls_fails(platform: StandIn, tmp_path: Path) -> None:
    run = Run(platform, tmp_path, {"maxConcurrentTasks": 20})
    platform.faults = chaos(0.2)
    clients = await lose_machines(run, 10, announced=0.5, seed=5)
    await asyncio.sleep(2)
    await check(run, clients)
