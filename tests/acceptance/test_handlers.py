"""Handlers that misbehave in every way harm nobody but their own job."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.service import Client


@pytest.mark.parametrize(
    "kind", ["returns-nan", "returns-surrogate", "returns-object", "returns-cycle", "raise", "system-exit"]
)
async def test_a_bad_end_fails_the_job(http: Client, kind: str):
    snapshot = await http.run({"type": kind})
    assert snapshot["status"] == "failed"
    assert snapshot["errorCode"] == "handler-error"
    assert snapshot["error"]
    assert snapshot["result"] is None
    assert (await http.run({"payload": "still here"}))["status"] == "completed"


async def test_a_result_too_large_fails_the_job(http: Client):
    snapshot = await http.run({"type": "returns-huge"})
    assert (snapshot["status"], snapshot["errorCode"]) == ("failed", "result-too-large")
    assert snapshot["result"] is None


async def test_an_enormous_and_broken_error_message_is_survived(http: Client):
    reply = await http.post("/run-and-wait", {"type": "raises-badly"})
    assert reply.status == 200
    assert (reply.json()["status"], reply.json()["errorCode"]) == ("failed", "handler-error")
    assert len(reply.body) < 1_000_000


async def test_plain_functions_run_in_threads_of_their_own(http: Client):
    start = time.monotonic()
    snapshots = await asyncio.gather(*(http.run({"type": "thread-sleep", "ms": 700}) for _ in range(45)))
    assert {str(s["result"]) for s in snapshots} == {"{'thread': True}"}
    assert time.monotonic() - start < 10  # one after another, or eight at a time, would be longer


async def test_threads_that_never_return_leave_room_for_others(make):
    service = await make({"maxConcurrentTasks": 40}).start()
    stuck = {"type": "thread-stuck", "options": {"timeoutMs": 100}}
    async with service.client() as http:
        ended = await asyncio.gather(*(http.run(stuck) for _ in range(40)))
        assert {(s["status"], s["errorCode"]) for s in ended} == {("failed", "timeout")}
        assert (await http.run({"type": "thread-sleep", "ms": 1}))["status"] == "completed"
        assert (await http.get("/health")).json()["activeTasks"] == 0
    assert await service.terminate() == 0


async def test_a_handler_that_blocks_the_loop_is_named_in_the_log(make):
    service = await make().start()
    async with service.client() as http:
        assert (await http.run({"type": "hogger", "ms": 2500}))["status"] == "completed"
        assert (await http.run({}))["status"] == "completed"
    lines = [line.lower() for line in service.log.splitlines() if "hogger" in line]
    assert any("block" in line or "loop" in line for line in lines), lines


async def test_the_context_tells_about_the_job(http: Client):
    snapshot = await http.run({"type": "context", "options": {"timeoutMs": 30000}})
    result = snapshot["result"]
    assert result["jobId"] == snapshot["jobId"]
    assert result["attempt"] == 1
    assert result["cancelled"] is False
    assert result["deadline"].endswith("+00:00")
    assert result["maxSleepMs"] == 3_600_000


async def test_without_a_timeout_there_is_no_deadline(http: Client):
    assert (await http.run({"type": "context"}))["result"]["deadline"] is None


async def test_extra_parameters_of_own_types_are_refused_too(http: Client):
    (await http.post("/tasks", {"type": "context", "extra": 1})).problem(400)


async def test_progress_is_shown_while_the_job_runs(http: Client):
    job_id = await http.submit({"type": "step", "ms": 1500})
    deadline = time.monotonic() + 10
    while "progress" not in (snapshot := await http.snapshot(job_id)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert snapshot["progress"] == {"fraction": 0.25, "message": "a quarter"}
    await http.finished(job_id)


async def test_thousands_of_progress_calls_cost_little(http: Client):
    start = time.monotonic()
    snapshot = await http.run({"type": "chatty", "times": 10_000})
    assert snapshot["result"] == 10_000
    assert time.monotonic() - start < 10
