"""Bad settings end the process with code 1 and name the field; environment names and their fallbacks."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Any

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.acceptance.service import Service

# Each of these is one start; every field in it must be named.
BAD_SETTINGS: list[dict[str, Any]] = [
    {
        "accessToken": 5,
        "maxConcurrentTasks": 0,
        "maxQueuedTasks": 0,
        "maxBodyBytes": 4 * 2**20 + 1,
        "maxResultBytes": 4 * 2**20 + 1,
        "defaultWaitTimeoutMs": -1,
        "maxWaitTimeoutMs": "long",
        "maxSleepMs": -1,
        "allowFetchTasks": "perhaps",
        "durability": "eventual",
        "retentionHours": -1,
        "maxRetainedJobs": -1,
        "jobTimeoutMs": "x",
    },
    {
        "maxConcurrentTasks": 51,
        "maxQueuedTasks": 10_000_001,
        "maxBodyBytes": "1 MiB",
        "maxSleepMs": True,
        "allowFetchTasks": 7,
        "retentionHours": 1.5,
        "jobTimeoutMs": [],
    },
    {"maxConcurrentTasks": "many"},
    {"noSuchSetting": 1, "maxConcurrentTasks": 0},
]
BAD_ENVIRONMENTS = [
    ({"ACTOR_WEB_SERVER_PORT": "http"}, "ACTOR_WEB_SERVER_PORT"),
    ({"ACTOR_WEB_SERVER_PORT": "70000"}, "ACTOR_WEB_SERVER_PORT"),
    ({"ASYNC_ENDPOINT_HANDLERS": "no_such_module"}, "no_such_module"),
]


async def _refused(service: Service, names: Iterable[str], gate: asyncio.Semaphore) -> str | None:
    """What is wrong with how these settings were refused, if anything."""
    async with gate:
        await asyncio.to_thread(service.launch)
        try:
            code = await service.wait(30)
        except subprocess.TimeoutExpired:
            return f"{service.settings}: still runs"
    if code != 1:
        return f"{service.settings}: exit code {code}"
    if unnamed := [name for name in names if name not in service.log]:
        return f"{unnamed} not named in {service.log!r}"
    if "Traceback" in service.log:
        return f"{service.settings}: a traceback instead of a message"
    if (service.storage / "jobs.sqlite").exists() or (service.storage / "datasets").exists():
        return f"{service.settings}: touched the storage"
    return None


async def test_every_bad_setting_is_named_and_ends_with_code_1(make):
    gate = asyncio.Semaphore(2)
    refusals = [
        _refused(make(settings), set(settings) - {"noSuchSetting"}, gate) for settings in BAD_SETTINGS
    ]
    refusals += [_refused(make(env=env), [name], gate) for env, name in BAD_ENVIRONMENTS]
    assert [wrong for wrong in await asyncio.gather(*refusals) if wrong] == []


async def test_input_that_is_not_an_object(make):
    service = make()
    service.settings = [1, 2]  # type: ignore[assignment]
    service.launch()
    assert await service.wait() == 1
    assert "input" in service.log.lower()


async def test_a_port_in_use_is_a_clear_end(make, shared: Service):
    service = make(env={"ACTOR_WEB_SERVER_PORT": str(shared.port)})
    service.launch()
    assert await service.wait() == 1
    assert str(shared.port) in service.log


async def test_old_environment_names_and_empty_ones(make, tmp_path):
    service: Service = make()
    blank = {
        "ACTOR_WEB_SERVER_PORT": "",
        "APIFY_LOCAL_STORAGE_DIR": "",
        "ACTOR_WEB_SERVER_URL": "",
        "APIFY_PURGE_ON_START": "",
    }
    empty = {"ACTOR_STANDBY_URL": "", "ASYNC_ENDPOINT_HANDLERS": "", "ACTOR_STANDBY_PORT": ""}
    old = {
        "APIFY_CONTAINER_PORT": str(service.port),
        "CRAWLEE_STORAGE_DIR": str(service.storage),
        "CRAWLEE_PURGE_ON_START": "0",
        "APIFY_CONTAINER_URL": "https://old.example.net",
    }
    service.env = {**blank, **empty, **old}
    await service.start()
    async with service.client() as http:
        receipt = (await http.post("/tasks", {})).json()
        assert receipt["getUrl"] == f"https://old.example.net/tasks/{receipt['jobId']}"
        await http.finished(receipt["jobId"])
    assert (service.storage / "jobs.sqlite").exists()
    await service.rows_when(1)


async def test_new_names_go_before_old_ones(make):
    service: Service = make()
    service.env = {"APIFY_CONTAINER_PORT": str(free_port()), "CRAWLEE_PURGE_ON_START": "1"}
    await service.start()
    async with service.client() as http:
        job = await http.run({})
        await service.restart()
    async with service.client() as http:
        assert await http.snapshot(job["jobId"]) == job


async def test_purge_on_start_clears_store_and_dataset_together(make):
    service: Service = await make(env={"APIFY_PURGE_ON_START": "1"}).start()
    async with service.client() as http:
        job_id = (await http.run({}))["jobId"]
        await service.rows_when(1)
    await service.restart()
    async with service.client() as http:
        (await http.get(f"/tasks/{job_id}")).problem(404)
        assert service.rows() == []
        await http.run({})
    assert len(await service.rows_when(1)) == 1


async def test_a_default_wait_above_the_maximum_is_clamped(make):
    service = await make({"defaultWaitTimeoutMs": 600000, "maxWaitTimeoutMs": 100}).start()
    async with service.client() as http:
        assert (await http.post("/run-and-wait", {"type": "sleep", "ms": 60000})).status == 202
