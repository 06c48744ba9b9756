"""What a start finds after `kill -9`: every acknowledged job, in its order, with its history."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from tests.acceptance.service import Client, Service, progress_of
from tests.acceptance.sse import whole_log


async def test_after_a_kill_everything_goes_on(make):
    service: Service = await make({"maxConcurrentTasks": 1}).start()
    async with service.client() as http:
        ended = await http.run({"payload": "ended"})
        running = await http.submit({"type": "sleep", "ms": 600})
        before = await http.until_status(running, "running")
        pending = [await http.submit({"type": "sleep", "ms": 5}) for _ in range(12)]
        urgent = await http.submit({"type": "sleep", "ms": 5, "options": {"priority": 5}})
        await service.restart()
        after = await http.snapshot(running)
        assert progress_of(after) > progress_of(before)
        assert after["attempt"] == 2
        assert await http.snapshot(ended["jobId"]) == ended
        done = [await http.finished(job_id) for job_id in [running, *pending, urgent]]
        names = [event.name for event in await whole_log(http, running)]
    assert {snapshot["status"] for snapshot in done} == {"completed"}
    assert [snapshot["attempt"] for snapshot in done] == [2] + [1] * 13
    starts = [snapshot["startedAt"] for snapshot in done]
    assert starts[1:-1] == sorted(starts[1:-1])
    assert starts[-1] < starts[1]
    assert names[:2] == ["created", "started"]
    assert names[-2:] == ["started", "completed"]
    rows = await service.rows_when(15)
    assert len(rows) == len({row["jobId"] for row in rows}) == 15


async def test_options_outlive_a_kill(make):
    service: Service = await make({"maxConcurrentTasks": 5}).start()
    async with service.client() as http:
        start = time.monotonic()
        delayed = await http.submit({"options": {"delayMs": 6000}})
        due = datetime.now(UTC) + timedelta(seconds=6)
        at = await http.submit({"options": {"startAt": due.isoformat()}})
        far = await http.submit({"options": {"delayMs": 3_600_000}})
        retry = {"maxAttempts": 20, "initialDelayMs": 3_600_000, "maxDelayMs": 3_600_000}
        retrying = await http.submit({"type": "flaky", "failures": 19, "options": {"retry": retry}})
        while "nextAttemptAt" not in (waiting := await http.snapshot(retrying)):
            await asyncio.sleep(0.02)
        expiring = await http.submit({"options": {"delayMs": 3_600_000, "expireMs": 5000}})
        cancelled = await http.submit({"type": "ignore-cancel", "ms": 60000})
        await http.until_status(cancelled, "running")
        assert (await http.delete(f"/tasks/{cancelled}")).status == 202
        await service.restart()
        for job_id in (delayed, at):
            snapshot = await http.finished(job_id)
            assert snapshot["status"] == "completed"
            late = datetime.fromisoformat(snapshot["startedAt"]) - datetime.fromisoformat(
                snapshot["createdAt"]
            )
            assert timedelta(seconds=5.9) < late < timedelta(seconds=20)
        assert time.monotonic() - start > 5.9
        assert (await http.snapshot(far))["status"] == "pending"
        again = await http.snapshot(retrying)
        assert (again["attempt"], again["nextAttemptAt"]) == (waiting["attempt"], waiting["nextAttemptAt"])
        assert (await http.finished(expiring))["errorCode"] == "expired"
        gone = await http.finished(cancelled, 10)
        assert (gone["status"], gone["attempt"]) == ("cancelled", 1)


async def test_a_handler_that_must_not_run_twice(make):
    service: Service = await make().start()
    async with service.client() as http:
        job_id = await http.submit({"type": "once", "ms": 60000, "options": {"retry": {"maxAttempts": 5}}})
        await http.until_status(job_id, "running")
        await service.restart()
        snapshot = await http.finished(job_id)
    assert (snapshot["status"], snapshot["errorCode"]) == ("failed", "interrupted")
    assert [row["jobId"] for row in await service.rows_when(1)] == [job_id]


async def _outlive(service: Service) -> None:
    """Wait until the process has ended by itself, then start it again."""
    await service.wait(30)
    await asyncio.to_thread(service.launch)


async def test_a_job_that_kills_the_service_is_given_up_after_three_times(make):
    service: Service = await make().start()
    async with service.client() as http:
        job_id = await http.submit({"type": "crash", "ms": 300})
        other = await http.submit({"options": {"delayMs": 3_600_000}})
    for _ in range(3):
        await _outlive(service)
    await asyncio.to_thread(_until_ready, service)
    async with service.client() as http:
        snapshot = await http.finished(job_id)
        assert (snapshot["status"], snapshot["errorCode"]) == ("failed", "interrupted")
        assert snapshot["attempt"] >= 3
        assert (await http.snapshot(other))["status"] == "pending"
    assert len(await service.rows_when(1)) == 1


def _until_ready(service: Service) -> None:
    deadline = time.monotonic() + 30
    while service.status_of("/ready") != 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_what_was_answered_is_there_after_the_kill(make):
    service: Service = await make({"maxConcurrentTasks": 50}).start()
    told: dict[str, tuple[int, int]] = {}

    async def work(http: Client) -> None:
        for number in range(10):
            reply = await http.post("/run-and-wait" if number % 2 else "/tasks", {"payload": 1})
            if reply.status == 200:
                told[reply.json()["jobId"]] = progress_of(reply.json())
            else:
                told[reply.json()["jobId"]] = (1, 0)

    async with service.client() as http:
        await asyncio.gather(*(work(http) for _ in range(20)))
        await service.restart()
        known = {job["jobId"]: progress_of(job) for job in await http.all_jobs()}
        assert all(known[job_id] >= state for job_id, state in told.items())
        assert len(known) == 200
    rows = await service.rows_when(200)
    assert len(rows) == len({row["jobId"] for row in rows}) == 200


async def test_jobs_of_what_is_gone_or_forbidden_now_are_not_done_again(make):
    settings = {"allowFetchTasks": True, "allowPrivateNetworks": True}
    service: Service = await make(settings).start()
    async with service.client() as http:
        gone = (await http.run({"type": "flaky"}))["jobId"]
        forbidden = (await http.run({"type": "fetch", "url": f"{service.url}/health"}))["jobId"]
    await service.terminate()
    again: Service = await make(env={"ASYNC_ENDPOINT_HANDLERS": ""}, at=service.storage).start()
    async with again.client() as http:
        for job_id, status, code in ((gone, 400, "invalid-task"), (forbidden, 403, "fetch-disabled")):
            (await http.post(f"/tasks/{job_id}/replay")).problem(status, code)
            assert (await http.post(f"/v2/actor-runs/{job_id}/resurrect")).status == status
        assert (await http.get("/health")).json()["queued"] == 0
