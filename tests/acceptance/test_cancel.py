"""A cancel holds its word: the job ends, once, and its slot is free."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.sse import whole_log

if TYPE_CHECKING:
    from tests.acceptance.service import Client

LONG = {"type": "sleep", "ms": 60000}


async def cancel(http: Client, job_id: str, how: str = "POST"):
    if how == "DELETE":
        return await http.delete(f"/tasks/{job_id}")
    return await http.post(f"/tasks/{job_id}/cancel")


@pytest.mark.parametrize("how", ["POST", "DELETE"])
@pytest.mark.parametrize("kind", ["pending", "running"])
async def test_cancel(http: Client, how: str, kind: str):
    options = {"delayMs": 600_000} if kind == "pending" else {}
    job_id = await http.submit({**LONG, "options": options})
    await http.until_status(job_id, kind)
    reply = await cancel(http, job_id, how)
    assert reply.status == 200
    snapshot = reply.json()
    assert (snapshot["status"], snapshot["errorCode"], snapshot["result"]) == ("cancelled", "cancelled", None)
    assert snapshot["finishedAt"]
    again = await cancel(http, job_id, how)
    assert (again.status, again.json()) == (200, snapshot)
    assert await http.snapshot(job_id) == snapshot
    assert [event.name for event in await whole_log(http, job_id)][-1] == "cancelled"


async def test_cancelling_what_has_ended_changes_nothing(http: Client):
    for task in ({"payload": 1}, {"type": "raise"}):
        ended = await http.run(task)
        reply = await cancel(http, ended["jobId"])
        assert (reply.status, reply.json()) == (200, ended)


async def test_waiters_are_told(http: Client):
    job_id = await http.submit(LONG)
    waits = [asyncio.create_task(http.post(f"/tasks/{job_id}/wait")) for _ in range(5)]
    await asyncio.sleep(0.2)
    await cancel(http, job_id)
    replies = await asyncio.gather(*waits)
    assert {(reply.status, reply.json()["status"]) for reply in replies} == {(200, "cancelled")}


async def test_a_handler_may_clean_up(http: Client):
    job_id = await http.submit({"type": "slow-cleanup", "ms": 200})
    await http.until_status(job_id, "running")
    reply = await cancel(http, job_id)
    assert (reply.status, reply.json()["status"]) == (200, "cancelled")
    assert "cleaned up" in str(await whole_log(http, job_id))


async def test_a_longer_clean_up_is_a_202_first(http: Client):
    job_id = await http.submit({"type": "slow-cleanup", "ms": 2200})
    await http.until_status(job_id, "running")
    reply = await cancel(http, job_id)
    assert (reply.status, reply.json()["status"]) == (202, "running")
    assert (await cancel(http, job_id)).status in (200, 202)
    assert (await http.finished(job_id, 10))["status"] == "cancelled"
    assert "cleaned up" in str(await whole_log(http, job_id))


async def test_a_thread_learns_that_it_is_cancelled(http: Client):
    job_id = await http.submit({"type": "thread-polite"})
    await http.until_status(job_id, "running")
    reply = await cancel(http, job_id)
    assert (reply.status, reply.json()["status"]) == (200, "cancelled")


async def test_a_thread_may_clean_up_too(http: Client):
    job_id = await http.submit({"type": "thread-polite", "ms": 300})
    await http.until_status(job_id, "running")
    reply = await cancel(http, job_id)
    assert (reply.status, reply.json()["status"]) == (200, "cancelled")
    assert "cleaned up" in str(await whole_log(http, job_id))


async def test_a_cancelled_job_is_not_retried(http: Client):
    job_id = await http.submit({**LONG, "options": {"retry": {"maxAttempts": 5, "initialDelayMs": 1}}})
    await http.until_status(job_id, "running")
    await cancel(http, job_id)
    snapshot = await http.finished(job_id)
    assert (snapshot["status"], snapshot["attempt"]) == ("cancelled", 1)


async def test_its_slot_is_free_at_once(lone: Client):
    for _ in range(5):
        job_id = await lone.submit(LONG)
        await lone.until_status(job_id, "running")
        await cancel(lone, job_id)
    start = time.monotonic()
    assert (await lone.run({}))["status"] == "completed"
    assert time.monotonic() - start < 5
    assert (await lone.get("/health")).json()["activeTasks"] == 0


async def test_races_with_the_end_have_one_winner(make):
    service = await make({"maxConcurrentTasks": 50}).start()
    chance = random.Random(7)

    async def race(http: Client) -> dict:
        job_id = await http.submit({"type": "sleep", "ms": 1500})
        wait = asyncio.create_task(http.finished(job_id))
        await asyncio.sleep(chance.uniform(0, 3))
        replies = await asyncio.gather(*(cancel(http, job_id) for _ in range(3)))
        final = await wait
        assert all(reply.status in (200, 202) for reply in replies)
        assert all(reply.json() == final for reply in replies if reply.status == 200)
        names = [event.name for event in await whole_log(http, job_id)]
        assert [name for name in names if name in ("completed", "failed", "cancelled")] == [final["status"]]
        return final

    async with service.client() as http:
        ended = await asyncio.gather(*(race(http) for _ in range(100)))
        assert (await http.get("/health")).json()["activeTasks"] == 0
    assert {final["status"] for final in ended} == {"completed", "cancelled"}
    rows = await service.rows_when(100)
    assert sorted((row["jobId"], row["status"]) for row in rows) == sorted(
        (f["jobId"], f["status"]) for f in ended
    )


async def test_a_handler_that_ignores_its_cancel_is_left_behind(make):
    service = await make({"maxConcurrentTasks": 4}).start()
    kinds = [
        {"type": "ignore-cancel", "ms": 15_000},
        {"type": "thread-stuck"},
        {"type": "slow-cleanup", "ms": 15_000},
    ]
    async with service.client() as http:
        ids = [await http.submit(task) for task in kinds]
        late = await http.submit({"type": "ignore-cancel", "ms": 15_000, "options": {"timeoutMs": 200}})
        for job_id in ids:
            await http.until_status(job_id, "running")
        start = time.monotonic()
        replies = await asyncio.gather(*(http.delete(f"/tasks/{job_id}") for job_id in ids))
        assert {reply.status for reply in replies} == {202}
        assert time.monotonic() - start < 4
        ended = await asyncio.gather(*(http.finished(job_id) for job_id in ids))
        assert {(job["status"], job["errorCode"]) for job in ended} == {("cancelled", "cancelled")}
        assert time.monotonic() - start < 12
        timed_out = await http.finished(late)
        assert (timed_out["status"], timed_out["errorCode"]) == ("failed", "timeout")
        assert (await http.get("/health")).json()["activeTasks"] == 0
        for _ in range(4):
            await http.submit({"type": "sleep", "ms": 60_000})
        assert len(await http.all_jobs("&status=running")) == 4
        await asyncio.sleep(start + 17 - time.monotonic())  # the left-behind handlers have returned by then
        for job, job_id in zip(ended, ids, strict=True):
            assert await http.snapshot(job_id) == job
    assert len(await service.rows_when(4)) == 4
