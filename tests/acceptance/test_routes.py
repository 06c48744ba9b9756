"""The routes, fields, headers and status codes that a client of the native API relies on."""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import UTC, datetime

import pytest

from tests.acceptance.service import ROW_FIELDS, Client, Service

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def test_health_tells_what_the_service_does(http: Client):
    reply = await http.get("/health")
    assert reply.status == 200
    health = reply.json()
    assert set(health) >= {"ok", "service", "version", "activeTasks", "queued", "draining"}
    assert health["ok"] is True
    assert health["draining"] is False
    assert isinstance(health["activeTasks"], int)
    assert isinstance(health["queued"], int)


async def test_health_counts_running_and_queued_jobs(make):
    service = await make({"maxConcurrentTasks": 2}).start()
    async with service.client() as http:
        jobs = [await http.submit({"type": "sleep", "ms": 20000}) for _ in range(5)]
        await http.until_status(jobs[1], "running")
        health = (await http.get("/health")).json()
    assert (health["activeTasks"], health["queued"]) == (2, 3)


async def test_ready(http: Client):
    reply = await http.get("/ready")
    assert (reply.status, reply.json()) == (200, {"ready": True})


async def test_discovery_lists_routes_and_task_types(http: Client):
    reply = await http.get("/")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.headers["Vary"] == "Accept", "browsers get a page from here"
    document = reply.json()
    assert document["service"] == (await http.get("/health")).json()["service"]
    assert document["version"]
    assert document["presets"] == []
    assert "/run-and-wait" in str(document["routes"])
    assert {"echo", "sleep", "flaky"} <= set(document["taskTypes"])
    assert "containerUrl" not in document or document["containerUrl"] is None


async def test_the_standby_readiness_probe_gets_an_empty_200(http: Client):
    reply = await http.get("/", headers={"x-apify-container-server-readiness-probe": "1"})
    assert (reply.status, reply.body) == (200, b"")


async def test_openapi_names_every_route_of_the_native_api(http: Client):
    document = (await http.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    paths = {re.sub(r"{[^}]*}", "{}", path): set(item) for path, item in document["paths"].items()}
    expected = {
        "/health": {"get"},
        "/ready": {"get"},
        "/": {"get"},
        "/tasks": {"get", "post"},
        "/tasks/batch": {"post"},
        "/tasks/{}": {"get", "delete"},
        "/tasks/{}/wait": {"post"},
        "/run-and-wait": {"post"},
        "/tasks/{}/cancel": {"post"},
        "/tasks/{}/replay": {"post"},
        "/tasks/{}/events": {"get"},
        "/events": {"get"},
        "/openapi.json": {"get"},
        "/metrics": {"get"},
    }
    assert {path: methods & paths.get(path, set()) for path, methods in expected.items()} == expected


async def test_openapi_shows_the_parameters_of_task_types(http: Client):
    document = (await http.get("/openapi.json")).body.decode()
    assert '"ms"' in document
    assert '"payload"' in document


async def test_submit_is_acknowledged_with_links_that_work(http: Client):
    reply = await http.post("/tasks", {"type": "sleep", "ms": 50})
    assert reply.status == 202
    receipt = reply.json()
    job_id = receipt["jobId"]
    assert str(uuid.UUID(job_id)) == job_id
    assert receipt["status"] in ("pending", "running", "completed")
    assert receipt["getUrl"] == f"/tasks/{job_id}"
    assert receipt["waitUrl"] == f"/tasks/{job_id}/wait"
    assert receipt["eventsUrl"] == f"/tasks/{job_id}/events"
    assert receipt["cancelUrl"] == f"/tasks/{job_id}/cancel"
    assert reply.headers["Location"] == receipt["getUrl"]
    assert int(reply.headers["Retry-After"]) >= 0
    assert (await http.get(receipt["getUrl"])).status == 200
    assert (await http.post(receipt["waitUrl"])).json()["status"] == "completed"
    assert (await http.get(receipt["eventsUrl"])).status == 200
    assert (await http.post(receipt["cancelUrl"])).status == 200


async def test_links_are_absolute_when_the_public_url_is_known(make):
    service = await make(env={"ACTOR_WEB_SERVER_URL": "https://abc.runs.example.net"}).start()
    async with service.client() as http:
        reply = await http.post("/tasks", {})
        receipt = reply.json()
        discovery = (await http.get("/")).json()
    base = f"https://abc.runs.example.net/tasks/{receipt['jobId']}"
    assert receipt["getUrl"] == base
    assert receipt["waitUrl"] == f"{base}/wait"
    assert receipt["eventsUrl"] == f"{base}/events"
    assert receipt["cancelUrl"] == f"{base}/cancel"
    assert discovery["containerUrl"].rstrip("/") == "https://abc.runs.example.net"


async def test_snapshot_of_a_finished_job(http: Client):
    before = datetime.now(UTC)
    snapshot = await http.run({"type": "sleep", "ms": 30})
    assert set(snapshot) >= ROW_FIELDS
    assert snapshot["status"] == "completed"
    assert (snapshot["task"]["type"], snapshot["task"]["ms"]) == ("sleep", 30)
    assert snapshot["result"] == {"taskType": "sleep", "ms": 30}
    assert snapshot["error"] is None
    assert snapshot["errorCode"] is None
    assert snapshot["attempt"] == 1
    times = [snapshot[name] for name in ("createdAt", "startedAt", "finishedAt")]
    assert all(TIME.fullmatch(time) for time in times)
    assert times == sorted(times)
    created, started, finished = (datetime.fromisoformat(time) for time in times)
    assert abs((created - before).total_seconds()) < 5
    assert 0.029 <= (finished - started).total_seconds() < 5


async def test_snapshot_of_a_running_job(http: Client):
    job_id = await http.submit({"type": "sleep", "ms": 20000})
    snapshot = await http.until_status(job_id, "running")
    assert set(snapshot) >= ROW_FIELDS
    assert TIME.fullmatch(snapshot["startedAt"])
    assert snapshot["result"] is None
    assert snapshot["error"] is None
    assert snapshot["errorCode"] is None
    assert snapshot["finishedAt"] is None
    assert "queuePosition" not in snapshot
    assert (await http.post(f"/tasks/{job_id}/cancel")).status in (200, 202)


async def test_snapshot_of_a_failed_job(http: Client):
    snapshot = await http.run({"type": "raise", "message": "boom 417"})
    assert snapshot["status"] == "failed"
    assert "boom 417" in snapshot["error"]
    assert snapshot["errorCode"] == "handler-error"
    assert snapshot["result"] is None
    assert TIME.fullmatch(snapshot["finishedAt"])


@pytest.mark.parametrize(
    "payload",
    [
        None,
        False,
        0,
        -1.5,
        1e300,
        2**53,
        "",
        "grün 🚀 \u2028 \x00 \x7f",
        [],
        {},
        {"a": [1, {"b": [None, True]}], "": "empty key", "type": "sleep", "options": 1},
        [[[[[[[[]]]]]]]],
        "x" * 100_000,
    ],
)
async def test_echo_gives_back_any_json(http: Client, payload):
    snapshot = await http.run({"type": "echo", "payload": payload})
    assert snapshot["status"] == "completed"
    assert snapshot["result"] == {"taskType": "echo", "payload": payload}
    assert snapshot["task"]["payload"] == payload


async def test_echo_is_the_default_and_its_payload_null(http: Client):
    snapshot = await http.run({})
    assert snapshot["result"] == {"taskType": "echo", "payload": None}
    assert (await http.run({"payload": 7}))["result"] == {"taskType": "echo", "payload": 7}


async def test_sleep_is_capped(make):
    service = await make({"maxSleepMs": 40}).start()
    async with service.client() as http:
        snapshot = await http.run({"type": "sleep", "ms": 3_000_000})
    assert snapshot["result"] == {"taskType": "sleep", "ms": 40}


async def test_each_job_has_an_id_of_its_own_and_ids_follow_creation(http: Client):
    ids = [await http.submit({}) for _ in range(30)]
    assert len(set(ids)) == 30
    assert ids == sorted(ids)


async def test_jobs_start_in_order_of_submission(lone: Client):
    ids = [await lone.submit({"type": "sleep", "ms": 5}) for _ in range(10)]
    snapshots = await asyncio.gather(*(lone.finished(job_id) for job_id in ids))
    starts = [snapshot["startedAt"] for snapshot in snapshots]
    assert starts == sorted(starts)


async def test_never_more_jobs_at_once_than_the_cap(make):
    service = await make({"maxConcurrentTasks": 3}).start()
    async with service.client() as http:
        snapshots = await asyncio.gather(*(http.run({"type": "span", "ms": 60}) for _ in range(20)))
    spans = [(s["result"]["start"], s["result"]["end"]) for s in snapshots]
    most = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert most == 3


async def test_unknown_query_parameters_are_ignored(http: Client):
    assert (await http.post("/tasks?colour=green&_=1", {})).status == 202
    assert (await http.get("/tasks?colour=green")).status == 200


async def test_every_ended_job_is_one_row(make):
    service = await make({"maxConcurrentTasks": 10}).start()
    tasks = [{"payload": n} for n in range(40)] + [{"type": "raise"}] * 5 + [{"type": "sleep", "ms": 5}] * 5
    async with service.client() as http:
        ended = await asyncio.gather(*(http.run(task) for task in tasks))
        cancelled = await http.submit({"type": "sleep", "ms": 60000})
        await http.post(f"/tasks/{cancelled}/cancel")
        ended.append(await http.finished(cancelled))
    rows = await service.rows_when(len(ended))
    assert len(rows) == len(ended)
    by_id = {row["jobId"]: row for row in rows}
    for snapshot in ended:
        row = by_id.pop(snapshot["jobId"])
        assert set(row) == ROW_FIELDS
        assert row == {name: snapshot[name] for name in ROW_FIELDS}
    assert by_id == {}


async def test_the_sdk_reads_the_rows(make):
    service: Service = await make().start()
    async with service.client() as http:
        for number in range(3):
            await http.run({"payload": number})
    await service.rows_when(3)
    assert await service.terminate() == 0
    folder = service.storage / "datasets" / "default"
    names = sorted(path.name for path in folder.glob("*.json"))
    assert names == ["000000001.json", "000000002.json", "000000003.json", "__metadata__.json"]


async def test_a_masked_credential_header_is_not_shown(http: Client):
    task = {"payload": {"headers": {"Authorization": "kept: a payload belongs to the caller"}}}
    assert (await http.run(task))["result"]["payload"] == task["payload"]
