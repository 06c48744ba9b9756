"""Scenarios that mostly sleep or search: all at once, beside the other tests; `test_long_waits.py` collects them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from tests.acceptance.apify_waits import a_start_is_answered_before_clients_send_it_again
from tests.acceptance.openapi_search import finds_nothing
from tests.acceptance.raw import conversation
from tests.acceptance.service import Client, Service
from tests.acceptance.sse import events_of

Make = Callable[..., Service]


async def quiet_connections(make: Make) -> None:
    """A body that trickles is given up after a while; a stream that has nothing to say stays open."""
    service = await make().start()
    await asyncio.gather(_a_body_that_trickles(service), _a_stream_that_idles(service))


async def _a_body_that_trickles(service: Service) -> None:
    head = b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    start = time.monotonic()
    answer = await conversation(service.port, head + b'Content-Length: 100\r\n\r\n{"payload":', seconds=60)
    assert b" 408 " in answer.partition(b"\r\n")[0], answer
    assert b"application/problem+json" in answer
    assert 25 < time.monotonic() - start < 50


async def _a_stream_that_idles(service: Service) -> None:
    async with service.client() as http:
        job_id = await http.submit({"options": {"delayMs": 600_000}})
        counts = await asyncio.gather(
            *(_comments(http, path) for path in (f"/tasks/{job_id}/events", "/events"))
        )
    assert all(2 <= count <= 6 for count in counts), counts


async def _comments(http: Client, path: str) -> int:
    """How many comments an idle stream sends in 34 s."""
    count = 0
    async with http.session.get(path) as response:
        try:
            async with asyncio.timeout(34):
                async for event in events_of(response, comments=True):
                    count += event.name == "comment"
        except TimeoutError:
            return count
    raise AssertionError("the stream ended")


async def a_handler_that_ignores_its_cancel_is_left_behind(make: Make) -> None:
    service = await make({"maxConcurrentTasks": 4}).start()
    kinds = [
        {"type": "ignore-cancel", "ms": 20_000},
        {"type": "thread-stuck"},
        {"type": "slow-cleanup", "ms": 20_000},
    ]
    async with service.client() as http:
        ids = [await http.submit(task) for task in kinds]
        late = await http.submit({"type": "ignore-cancel", "ms": 20_000, "options": {"timeoutMs": 200}})
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
        await asyncio.sleep(
            max(0, start + 22 - time.monotonic())
        )  # until the left-behind handlers have returned
        for job, job_id in zip(ended, ids, strict=True):
            assert await http.snapshot(job_id) == job
    assert len(await service.rows_when(4)) == 4


async def jobs_that_outlive_the_grace_resume(make: Make) -> None:
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


async def old_jobs_leave_the_store_but_not_the_dataset(make: Make) -> None:
    service = await make({"maxRetainedJobs": 5}).start()
    async with service.client() as http:
        ids = [(await http.run({"payload": number}))["jobId"] for number in range(30)]
        waiting = await http.submit({"options": {"delayMs": 3_600_000}})
        deadline = time.monotonic() + 75
        while (await http.get(f"/tasks/{ids[0]}")).status != 404:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.5)
        kept = [job["jobId"] for job in await http.all_jobs()]
        assert kept[0] == waiting
        assert kept[1:] == ids[: -len(kept) : -1]
        assert 5 <= len(kept[1:]) < 30
        (await http.post(f"/tasks/{ids[0]}/replay")).problem(404)
    assert [row["jobId"] for row in await service.rows_when(30)] == ids


async def the_wait_after_a_full_queue_is_measured(make: Make) -> None:
    """`Retry-After` follows the drain rate: a queue that drains slowly asks for more patience."""
    quick, slow = await asyncio.gather(_retry_after(make, 100), _retry_after(make, 2500))
    assert 1 <= quick <= 5, (quick, slow)
    assert slow >= 2, (quick, slow)


async def _retry_after(make: Make, milliseconds: int) -> int:
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


async def schemathesis_finds_nothing(make: Make) -> None:
    phases = ("--phases", "examples,coverage,fuzzing")
    await finds_nothing(make, *phases, "--max-examples", "3", "--no-shrink")


SCENARIOS: dict[str, Callable[[Make], Awaitable[None]]] = {
    scenario.__name__: scenario
    for scenario in (
        quiet_connections,
        a_handler_that_ignores_its_cancel_is_left_behind,
        jobs_that_outlive_the_grace_resume,
        old_jobs_leave_the_store_but_not_the_dataset,
        schemathesis_finds_nothing,
        the_wait_after_a_full_queue_is_measured,
        a_start_is_answered_before_clients_send_it_again,
    )
}
