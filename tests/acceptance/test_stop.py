"""A clean stop, and what the next start finds."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.service import Service


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_service_stops_at_once_with_0(make, number: signal.Signals):
    service: Service = await make().start()
    async with service.client() as http:
        await http.run({})
    start = time.monotonic()
    assert await service.terminate(number) == 0
    assert time.monotonic() - start < 6
    assert len(service.rows()) == 1
    assert "Traceback" not in service.log
    assert "Unclosed" not in service.log


async def test_running_jobs_may_end_and_waiters_are_answered(make):
    service: Service = await make({"maxConcurrentTasks": 1}).start()
    async with service.client() as http:
        short = await http.submit({"type": "sleep", "ms": 1800})
        await http.until_status(short, "running")
        queued = await http.submit({"type": "sleep", "ms": 10})
        waits = [asyncio.create_task(http.post(f"/tasks/{job_id}/wait")) for job_id in (short, queued)]
        beats = asyncio.create_task(http.post(f"/tasks/{queued}/wait?heartbeatMs=60000"))
        get = asyncio.create_task(http.get(f"/tasks/{queued}", headers={"Prefer": "wait=60"}))
        await asyncio.sleep(0.3)
        start = time.monotonic()
        service.send(signal.SIGTERM)
        answers = await asyncio.gather(*waits, beats, get)
        assert time.monotonic() - start < 2
        assert [answer.status for answer in answers] == [202, 202, 200, 200]
        assert {answer.json()["status"] for answer in answers} <= {"pending", "running"}
        refused = await asyncio.gather(
            http.post("/tasks", {}), http.post("/run-and-wait", {}), http.post("/tasks/batch", [{}])
        )
        for reply in refused:
            reply.problem(503)
            assert int(reply.headers["Retry-After"]) >= 1
        assert (await http.get("/ready")).status == 503
        health = await http.get("/health")
        assert (health.status, health.json()["draining"]) == (200, True)
        assert (await http.get(f"/tasks/{short}")).status == 200
        assert await service.wait() == 0
    assert [row["jobId"] for row in service.rows()] == [short]
    await service.start()
    async with service.client() as http:
        assert (await http.snapshot(short))["status"] == "completed"
        assert (await http.finished(queued))["status"] == "completed"
    assert len(await service.rows_when(2)) == 2


async def test_jobs_that_outlive_the_grace_resume(make):
    service = await make({"maxConcurrentTasks": 5}).start()
    async with service.client() as http:
        tasks = [
            {"type": "sleep", "ms": 120_000},
            {"type": "thread-stuck"},
            {"type": "ignore-cancel", "ms": 120_000},
        ]
        ids = [await http.submit(task) for task in tasks]
        once = await http.submit({"type": "once", "ms": 120_000})
        for job_id in [*ids, once]:
            await http.until_status(job_id, "running")
        start = time.monotonic()
        code = await service.terminate(seconds=60)
        assert code == 0
        assert 5 < time.monotonic() - start < 30
    await service.start()
    async with service.client() as http:
        for job_id in ids:
            assert (await http.until_status(job_id, "running"))["attempt"] == 2
        interrupted = await http.finished(once)
        assert (interrupted["status"], interrupted["errorCode"]) == ("failed", "interrupted")
    assert [row["jobId"] for row in await service.rows_when(1)] == [once]


async def test_half_a_request_does_not_hold_up_a_stop(make):
    service: Service = await make().start()
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: 100\r\n\r\n{")
    await asyncio.sleep(0.3)
    start = time.monotonic()
    assert await service.terminate() == 0
    assert time.monotonic() - start < 8
    writer.close()


async def test_while_it_stops_the_probe_says_so(make):
    service: Service = await make().start()
    async with service.client() as http:
        job_id = await http.submit({"type": "sleep", "ms": 1500})
        await http.until_status(job_id, "running")
        service.send(signal.SIGTERM)
        probe = {"x-apify-container-server-readiness-probe": "1"}
        while (reply := await http.get("/", headers=probe)).status == 200:
            await asyncio.sleep(0.02)
        reply.problem(503, "draining")
    assert await service.wait() == 0
