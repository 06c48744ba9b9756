"""How a run on the platform starts, is stopped, moved, aborted and taken up again."""

from __future__ import annotations

import asyncio
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.platform.api import PRICING
from tests.platform.client import ended, patched, read, submit, until
from tests.platform.harness import Run
from tests.platform.standin import StandIn
from tests.platform.storage import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import aiohttp

PUT = "^PUT .*/records/"
LONG = {"type": "sleep", "ms": 60_000}


async def test_a_job_is_kept_charged_and_has_its_row_in_the_dataset(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession
) -> None:
    platform.pricing = PRICING
    run = await launch()
    job_id = await submit(http, run, {"payload": 7})
    assert (await ended(http, run, job_id))["result"] == {"taskType": "echo", "payload": 7}
    assert await run.stop() == 0
    (row,) = run.rows()
    assert (row["jobId"], row["status"], len(row)) == (job_id, "completed", 10)
    assert platform.storage.charged["completed-job"] == 1


async def test_without_pay_per_event_nothing_is_charged(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession
) -> None:
    run = await launch()
    await ended(http, run, await submit(http, run, {}))
    assert await run.stop() == 0
    assert platform.meter.count("charge") == 0


async def test_a_migrating_run_drains_asks_for_a_reboot_and_never_ends_by_itself(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    hasty = patched(tmp_path, "from async_endpoint.actor import platform", "platform._REBOOT_SECONDS = 0.2")
    run = await launch(**hasty)
    short = await submit(http, run, {"type": "sleep", "ms": 1500})
    platform.faults = [Fault("status", "/reboot$", times=2)]
    platform.send_event("migrating")
    await asyncio.sleep(0.5)
    async with http.post(run.url + "/tasks", json={}) as answer:
        assert answer.status == 503
        assert "Retry-After" in answer.headers
    await until(lambda: platform.reboots == 1, 20)
    run._process.send_signal(signal.SIGTERM)
    await asyncio.sleep(1)
    assert run.alive
    await run.kill()
    await run.start()
    assert (await read(http, run, short))["status"] == "completed"


async def test_what_a_migrating_run_could_not_finish_goes_on_on_the_next_machine(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    quick = patched(
        tmp_path, "from async_endpoint.actor.platform import PlatformRun", "PlatformRun.grace = 0.5"
    )
    run = await launch({"maxConcurrentTasks": 1}, **quick)
    running = await submit(http, run, {"type": "sleep", "ms": 3000})
    queued = await submit(http, run, {"payload": "queued"})
    platform.send_event("migrating")
    await until(lambda: platform.reboots == 1)
    await run.kill()
    await run.start()
    job = await ended(http, run, running)
    assert (job["status"], job["attempt"]) == ("completed", 2)
    assert (await ended(http, run, queued))["status"] == "completed"


@pytest.mark.parametrize("cause", ["aborting", "SIGTERM"])
async def test_a_run_that_is_stopped_ends_in_order_and_a_resurrected_one_goes_on(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession, cause: str
) -> None:
    run = await launch()
    done = await submit(http, run, {"payload": 1})
    delayed = await submit(http, run, {"payload": 2, "options": {"delayMs": 2500}})
    await ended(http, run, done)
    if cause == "aborting":
        platform.send_event("aborting")
        assert await run.exit_code() == 0
    else:
        assert await run.stop(getattr(signal, cause)) == 0
    assert len(run.rows()) == 1
    await run.start()
    assert (await read(http, run, done))["status"] == "completed"
    assert (await ended(http, run, delayed))["status"] == "completed"


async def test_the_harness_ends_a_run_whose_process_exits_while_it_migrates(
    platform: StandIn, launch: Callable[..., Any], tmp_path: Path
) -> None:
    """The negative control of the tests of migrations."""
    rash = patched(
        tmp_path,
        "from async_endpoint.actor.platform import PlatformRun",
        "async def leave(self): pass",
        "PlatformRun._reboot = leave",
    )
    run = await launch(**rash)
    platform.send_event("migrating")
    assert await run.exit_code() == 0
    await run.kill()
    assert platform.status == "SUCCEEDED"
    with pytest.raises(AssertionError, match="the run has ended"):
        await run.start()


async def test_a_migrating_run_that_is_aborted_ends(platform: StandIn, launch: Callable[..., Any]) -> None:
    run = await launch()
    platform.send_event("migrating")
    await until(lambda: platform.reboots == 1)
    platform.send_event("aborting")
    assert await run.exit_code() == 0


async def test_a_run_whose_timeout_is_near_ends_in_order(
    launch: Callable[..., Any], http: aiohttp.ClientSession
) -> None:
    """It stops 4 s before; jobs may go on for 2.5 s."""
    timeout_at = datetime.now(UTC) + timedelta(seconds=16)
    started_at = timeout_at - timedelta(seconds=16)
    run = await launch(ACTOR_STARTED_AT=started_at.isoformat(), ACTOR_TIMEOUT_AT=timeout_at.isoformat())
    await submit(http, run, LONG)
    left = timeout_at - timedelta(seconds=3) - datetime.now(UTC)
    short = await submit(http, run, {"type": "sleep", "ms": left // timedelta(milliseconds=1)})
    assert await run.exit_code() == 0
    assert datetime.now(UTC) < timeout_at
    assert [row["jobId"] for row in run.rows()] == [short]


async def test_a_run_with_fresh_storages_starts_empty(
    launch: Callable[..., Any], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    run = await launch()
    job_id = await submit(http, run, {})
    await run.kill()
    with StandIn() as elsewhere:
        fresh = Run(elsewhere, tmp_path)
        await fresh.start()
        async with http.get(f"{fresh.url}/tasks/{job_id}") as answer:
            assert answer.status == 404
        await fresh.kill()


@pytest.mark.soak
async def test_the_events_socket_may_be_cut(platform: StandIn, launch: Callable[..., Any]) -> None:
    run = await launch()
    platform.drop_sockets()
    await until(lambda: bool(platform._sockets))
    platform.send_event("aborting")
    assert await run.exit_code() == 0


@pytest.mark.soak
async def test_the_status_message_counts_jobs_and_comes_at_most_every_ten_seconds(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession
) -> None:
    run = await launch({"maxConcurrentTasks": 2})
    for task in (LONG, LONG, LONG, {"payload": 1, "options": {"priority": 9}}):
        await submit(http, run, task)
    await until(lambda: len(platform.status_messages) > 1, 15)
    assert platform.status_messages[1][1] == "2 running, 2 queued, 0 done"
    assert platform.status_messages[1][0] - platform.status_messages[0][0] > 9.5


async def test_durability_snapshot_loses_at_most_a_second(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession
) -> None:
    run = await launch({"durability": "snapshot"})
    platform.latency = 1.0
    began = time.monotonic()
    first = await submit(http, run, {})
    platform.latency = 0.0
    assert time.monotonic() - began < 0.9, "nobody waits for the key-value store"
    await asyncio.sleep(1.5)
    await run.kill()
    await run.start()
    assert (await ended(http, run, first))["status"] == "completed"
    last = await submit(http, run, {})
    assert await run.stop() == 0
    await run.start()
    assert (await read(http, run, last))["status"] == "completed"


async def test_at_the_cost_limit_jobs_are_refused_and_the_run_ends_in_order(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    platform.pricing, platform.max_charge_usd = PRICING, 0.03
    env = patched(tmp_path, "import async_endpoint.actor.platform as p", "p._FAREWELL_SECONDS = 1.0")
    run = await launch(**env)
    platform.latency = 0.05

    async def post() -> dict[str, Any]:
        async with http.post(run.url + "/tasks", json={}) as answer:
            return {**await answer.json(), "answered": answer.status}

    answers = await asyncio.gather(*(post() for _ in range(20)))
    accepted = [answer["jobId"] for answer in answers if answer["answered"] == 202]
    refused = [answer for answer in answers if answer["answered"] == 402]
    assert (len(accepted), len(refused)) == (3, 17)
    assert refused[0]["code"] == "cost-limit-reached"
    assert "cost limit" in refused[0]["detail"]
    assert await run.exit_code(15) == 0
    assert sorted(row["jobId"] for row in run.rows()) == sorted(accepted)
    assert platform.storage.charged["completed-job"] == 3


async def test_a_bad_setting_is_told_on_the_page_of_the_run(platform: StandIn, tmp_path: Path) -> None:
    run = Run(platform, tmp_path, {"maxConcurrentTasks": 0})
    await run.launch()
    assert await run.exit_code() == 1
    assert "maxConcurrentTasks" in platform.status_messages[-1][1]
    assert platform.meter.count("put-record") == 0


async def test_a_damaged_replica_is_refused_and_left_as_it_is(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    run = await launch(
        **patched(
            tmp_path, "from async_endpoint.actor import rebuild", "rebuild._READ_AGAIN_SECONDS = (0.1,)"
        )
    )
    await submit(http, run, {})
    await run.kill()
    key = next(key for key in platform.storage.sizes() if key.startswith("jobs-replica-"))
    damaged = platform.storage.record(key)[0][:-1]  # type: ignore[index]
    platform.storage.put(key, damaged)
    await run.launch()
    assert await run.exit_code() == 1
    assert "cannot be restored" in platform.status_messages[-1][1]
    assert platform.storage.record(key)[0] == damaged  # type: ignore[index]


async def test_standby_probes_readiness_and_takes_the_access_token_as_an_api_key(
    launch: Callable[..., Any], http: aiohttp.ClientSession
) -> None:
    run = await launch({"accessToken": "ours"}, APIFY_META_ORIGIN="STANDBY")
    probe = {"x-apify-container-server-readiness-probe": "1"}
    async with http.get(run.url + "/", headers=probe) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    theirs = {"Authorization": "Bearer of-the-platform"}
    async with http.post(run.url + "/tasks", json={}, headers=theirs) as answer:
        assert answer.status == 401
    async with http.post(run.url + "/tasks", json={}, headers=theirs | {"X-Api-Key": "ours"}) as answer:
        assert answer.status == 202
