"""A queue that says honestly when it is full, and where in it a job stands."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.service import Client, Service

LONG = {"type": "sleep", "ms": 20000}
QUEUE = 20


@pytest.fixture
async def blocked(lone: Client):
    """A job has ended, and the only slot is taken; whatever a test queues is cancelled after it."""
    await lone.run({})
    blocker = await lone.submit(LONG)
    await lone.until_status(blocker, "running")
    yield lone
    open_jobs = await lone.all_jobs("&status=pending") + await lone.all_jobs("&status=running")
    await asyncio.gather(*(lone.delete(f"/tasks/{job['jobId']}") for job in open_jobs))


async def test_a_full_queue_is_429_until_there_is_room(blocked: Client):
    ids = [await blocked.submit(LONG) for _ in range(QUEUE)]
    for path in ("/tasks", "/run-and-wait", "/run-and-wait?heartbeatMs=1000"):
        reply = await blocked.post(path, LONG)
        reply.problem(429)
        assert int(reply.headers["Retry-After"]) >= 1
    ended = (await blocked.all_jobs("&status=completed"))[0]["jobId"]
    (await blocked.post(f"/tasks/{ended}/replay")).problem(429)
    assert (await blocked.get("/ready")).status == 200
    assert len(await blocked.all_jobs("&status=pending")) == QUEUE
    await blocked.delete(f"/tasks/{ids[0]}")
    await blocked.submit(LONG)
    (await blocked.post("/tasks", LONG)).problem(429)


async def test_a_batch_that_does_not_fit_is_refused_whole(blocked: Client):
    for _ in range(QUEUE - 5):
        await blocked.submit(LONG)
    reply = await blocked.post("/tasks/batch", [LONG] * 6)
    reply.problem(429)
    assert int(reply.headers["Retry-After"]) >= 1
    assert len(await blocked.all_jobs("&status=pending")) == QUEUE - 5
    assert (await blocked.post("/tasks/batch", [LONG] * 5)).status == 202


async def test_a_bad_task_is_400_also_when_the_queue_is_full(blocked: Client):
    for _ in range(QUEUE):
        await blocked.submit(LONG)
    (await blocked.post("/tasks", {"type": "nope"})).problem(400)


async def test_a_known_key_is_answered_also_when_the_queue_is_full(blocked: Client):
    headers = {"Idempotency-Key": "full-queue"}
    first = await blocked.submit(LONG, headers=headers)
    for _ in range(QUEUE - 1):
        await blocked.submit(LONG)
    assert await blocked.submit(LONG, headers=headers) == first
    fresh = {"Idempotency-Key": "refused-when-full"}
    (await blocked.post("/tasks", LONG, headers=fresh)).problem(429)
    await blocked.delete(f"/tasks/{first}")
    assert "Idempotent-Replayed" not in (await blocked.post("/tasks", LONG, headers=fresh)).headers


async def test_pending_jobs_know_their_place(blocked: Client):
    ids = [await blocked.submit(LONG) for _ in range(10)]
    snapshots = [await blocked.snapshot(job_id) for job_id in ids]
    places = [snapshot["queuePosition"] for snapshot in snapshots]
    assert all(isinstance(place, int) and place >= 0 for place in places)
    assert all(before <= after for before, after in pairwise(places))
    assert places[-1] > places[0]
    assert all("queuePosition" not in item for item in (await blocked.get("/tasks")).json()["items"])


async def test_the_place_is_cheap_in_a_long_queue(make):
    service = await make({"maxConcurrentTasks": 1, "maxQueuedTasks": 20000}).start()
    async with service.client() as http:
        first = await http.submit({"type": "sleep", "ms": 60000})
        await http.until_status(first, "running")
        for _ in range(8):
            reply = await http.post("/tasks/batch", [LONG] * 1000)
            assert reply.status == 202
        last = reply.json()["jobs"][-1]["jobId"]
        start = time.monotonic()
        for _ in range(100):
            assert (await http.snapshot(last))["queuePosition"] > 1000
        assert time.monotonic() - start < 10


async def test_the_wait_after_a_full_queue_is_measured(make):
    """`Retry-After` follows the drain rate: a queue that drains slowly asks for more patience."""
    quick, slow = await asyncio.gather(_retry_after(make, 100), _retry_after(make, 2500))
    assert 1 <= quick <= 5, (quick, slow)
    assert slow >= 2, (quick, slow)


async def _retry_after(make: Callable[..., Service], milliseconds: int) -> int:
    """What a service says whose queue has been full for a while, of jobs that each take so long."""
    service = await make({"maxConcurrentTasks": 1, "maxQueuedTasks": 40}).start()
    async with service.client() as http:
        task = {"type": "sleep", "ms": milliseconds}
        end = time.monotonic() + 14
        while time.monotonic() < end:
            reply = await http.post("/tasks", task)
            await asyncio.sleep(0.02 if reply.status == 202 else 0.2)
        while reply.status == 202:
            reply = await http.post("/tasks", task)
    return int(reply.headers["Retry-After"])
