"""While the key-value store does not answer: nothing is promised, nothing is lost, and it ends by itself."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.platform.client import ended, patched, submit, until
from tests.platform.harness import rows_of
from tests.platform.storage import Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import aiohttp

    from tests.platform.harness import Run
    from tests.platform.standin import StandIn

RECORDS = "/records/"
NO_ANSWER = [
    pytest.param(Fault("status", RECORDS, 500), id="500"),
    pytest.param(Fault("status", RECORDS, 429), id="429", marks=pytest.mark.soak),
    pytest.param(Fault("hang", RECORDS), id="hang"),
    pytest.param(Fault("cut", RECORDS), id="cut"),
]


async def refused(
    http: aiohttp.ClientSession, run: Run, path: str = "/tasks", body: Any = None, **headers: str
) -> float:
    """Post what is refused as it should be; returns the seconds until the answer."""
    began = time.monotonic()
    async with http.post(run.url + path, json=body or {}, headers=headers) as answer:
        assert answer.status == 503, await answer.text()
        assert int(answer.headers["Retry-After"]) > 0
        assert (await answer.json())["code"] == "store-unavailable"
    return time.monotonic() - began


async def readiness(http: aiohttp.ClientSession, run: Run) -> int:
    async with http.get(run.url + "/ready") as answer:
        return answer.status


@pytest.mark.parametrize("fault", NO_ANSWER)
async def test_nothing_is_accepted_and_jobs_go_on(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession, tmp_path: Path, fault: Fault
) -> None:
    hasty = patched(
        tmp_path,
        "from async_endpoint.actor import records, replica",
        "records._SECONDS = replica._PATIENCE = 0.4",
    )
    run = await launch({"maxConcurrentTasks": 1}, **hasty)
    async with http.post(run.url + "/tasks", json={}, headers={"Idempotency-Key": "first"}) as answer:
        first = await answer.json()
    await ended(http, run, first["jobId"])
    running = await submit(http, run, {"type": "sleep", "ms": 1000})
    queued = await submit(http, run, {"payload": "queued"})
    platform.faults = [fault]
    await refused(http, run, "/tasks", {}, **{"Idempotency-Key": "second"})
    assert await readiness(http, run) == 503
    for path in ("/tasks", "/tasks/batch", "/run-and-wait", f"/tasks/{first['jobId']}/replay"):
        assert await refused(http, run, path, [{}] if "batch" in path else {}) < 1, "it is known by now"
    await refused(http, run, f"/tasks/{queued}/cancel")
    async with http.post(run.url + "/tasks", json={}, headers={"Idempotency-Key": "first"}) as answer:
        assert (answer.status, answer.headers["Idempotent-Replayed"]) == (202, "true")
        assert (await answer.json())["jobId"] == first["jobId"]
    async with http.get(run.url + "/health") as answer:
        assert (answer.status, (await answer.json())["ok"]) == (200, True)
    async with http.get(run.url + "/tasks") as answer:
        assert [job["jobId"] for job in (await answer.json())["items"]] == [queued, running, first["jobId"]]
    async with http.post(f"{run.url}/tasks/{running}/wait?timeoutMs=1200") as answer:
        assert (answer.status, (await answer.json())["status"]) == (202, "running")
    platform.faults = []
    job = await ended(http, run, running)
    assert (job["status"], job["attempt"]) == ("completed", 1), "it went on meanwhile"
    assert (await ended(http, run, queued))["status"] == "completed"
    await until(lambda: len(run.rows()) == 3)
    assert await readiness(http, run) == 200
    async with http.post(run.url + "/tasks", json={}, headers={"Idempotency-Key": "second"}) as answer:
        assert answer.status == 202
        assert "Idempotent-Replayed" not in answer.headers, "a refused request keeps no key"
        second = (await answer.json())["jobId"]
    await run.kill()
    await run.start()
    assert (await ended(http, run, second))["status"] == "completed"
    async with http.get(run.url + "/tasks") as answer:
        kept = [job["jobId"] for job in (await answer.json())["items"]]
    assert kept == [second, queued, running, first["jobId"]]
    assert set((await rows_of(run, kept)).values()) == {1}


async def test_a_run_is_stopped_while_the_key_value_store_is_down(
    platform: StandIn, launch: Callable[..., Any], http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    quick = patched(
        tmp_path,
        "import async_endpoint.service, async_endpoint.jobs.registry, async_endpoint.jobs.store",
        "async_endpoint.service._FLUSH_SECONDS = async_endpoint.jobs.registry._FLUSH_SECONDS = 1.0",
        "async_endpoint.jobs.store._FLUSH_AT_CLOSE_SECONDS = 1.0",
        "from async_endpoint.actor import records, replica",
        "records._SECONDS = replica._PATIENCE = 0.5",
    )
    run = await launch(**quick)
    running = await submit(http, run, {"type": "sleep", "ms": 700})
    platform.faults = [Fault("hang", RECORDS, seconds=30)]
    assert await run.stop(timeout=25) == 0
    platform.faults = []
    await run.start()
    assert (await ended(http, run, running))["status"] == "completed"
