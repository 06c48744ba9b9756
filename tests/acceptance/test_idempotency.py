"""A key makes a post safe to repeat: one job, whatever happens between."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.acceptance.service import Client, Service


def key(text: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": text or str(uuid.uuid4())}


async def test_the_same_key_and_task_give_the_first_job(http: Client):
    headers = key()
    first = await http.post("/tasks", {"payload": 1}, headers=headers)
    second = await http.post("/tasks", {"payload": 1}, headers=headers)
    assert (first.status, second.status) == (202, 202)
    assert "Idempotent-Replayed" not in first.headers
    assert second.headers["Idempotent-Replayed"] == "true"
    assert second.json()["jobId"] == first.json()["jobId"]


async def test_tasks_are_compared_after_validation(http: Client):
    headers = key()
    first = await http.post("/tasks", {}, headers=headers)
    same = await http.post("/tasks", {"type": "echo", "payload": None}, headers=headers)
    assert (same.status, same.json()["jobId"]) == (202, first.json()["jobId"])


async def test_another_task_is_422(http: Client):
    headers = key()
    await http.post("/tasks", {"payload": 1}, headers=headers)
    for other in ({"payload": 2}, {"payload": 1, "options": {"priority": 3}}, {"type": "sleep", "ms": 1}):
        (await http.post("/tasks", other, headers=headers)).problem(422)


async def test_run_and_wait_joins_the_first_job(http: Client):
    headers = key()
    task = {"type": "sleep", "ms": 500}
    job_id = await http.submit(task, headers=headers)
    reply = await http.post("/run-and-wait", task, headers=headers)
    assert (reply.status, reply.json()["jobId"], reply.json()["status"]) == (200, job_id, "completed")
    assert reply.headers["Idempotent-Replayed"] == "true"
    again = await http.post("/tasks", task, headers={**headers, "Prefer": "wait=5"})
    assert (again.status, again.json()["jobId"]) == (200, job_id)


async def test_a_replay_takes_a_key(http: Client):
    first, other = await http.run({"payload": 1}), await http.run({"payload": 2})
    headers = key()
    path = f"/tasks/{first['jobId']}/replay"
    replays = [await http.post(path, headers=headers) for _ in range(2)]
    assert [reply.status for reply in replays] == [202, 202]
    assert len({reply.json()["jobId"] for reply in replays}) == 1
    assert replays[1].headers["Idempotent-Replayed"] == "true"
    (await http.post(f"/tasks/{other['jobId']}/replay", headers=headers)).problem(422)
    (await http.post("/tasks", {"payload": 1}, headers=headers)).problem(422)


async def test_a_refused_request_keeps_no_key(http: Client):
    headers = key()
    (await http.post("/tasks", {"type": "nope"}, headers=headers)).problem(400)
    reply = await http.post("/tasks", {"payload": "now good"}, headers=headers)
    assert reply.status == 202
    assert "Idempotent-Replayed" not in reply.headers


@pytest.mark.parametrize("text", ["k" * 256, "tab\tinside", "naïve", " ", ""])
async def test_bad_keys(http: Client, text: str):
    (await http.post("/tasks", {}, headers={"Idempotency-Key": text})).problem(400)


async def test_of_two_keys_none_counts(http: Client):
    twice = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    (await http.post("/tasks", {}, headers=twice)).problem(400)


@pytest.mark.parametrize("length", [1, 255])
async def test_lengths_of_keys(http: Client, length: int):
    text = (str(uuid.uuid4()) * 8)[:length]
    if length == 1:
        text = "~"
    assert (await http.post("/tasks", {}, headers=key(text))).status == 202


async def test_a_batch_has_one_key(http: Client):
    headers = key()
    tasks = [{"payload": n} for n in range(5)]
    first = await http.post("/tasks/batch", tasks, headers=headers)
    second = await http.post("/tasks/batch", tasks, headers=headers)
    assert (first.status, second.status) == (202, 202)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert [j["jobId"] for j in second.json()["jobs"]] == [j["jobId"] for j in first.json()["jobs"]]
    (await http.post("/tasks/batch", tasks[:4], headers=headers)).problem(422)
    (await http.post("/tasks/batch", tasks[::-1], headers=headers)).problem(422)


async def test_a_single_task_and_a_batch_of_it_are_not_the_same(http: Client):
    headers = key()
    await http.post("/tasks", {"payload": 1}, headers=headers)
    (await http.post("/tasks/batch", [{"payload": 1}], headers=headers)).problem(422)


async def test_a_hundred_at_once_are_one_job(http: Client):
    headers = key()
    replies = await asyncio.gather(
        *(http.post("/tasks", {"payload": 5}, headers=headers) for _ in range(100))
    )
    assert {reply.status for reply in replies} == {202}
    assert len({reply.json()["jobId"] for reply in replies}) == 1
    assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) == 1


async def test_different_tasks_raced_under_one_key(http: Client):
    headers = key()
    replies = await asyncio.gather(
        *(http.post("/tasks", {"payload": n % 2}, headers=headers) for n in range(60))
    )
    accepted = [reply for reply in replies if reply.status == 202]
    assert {reply.status for reply in replies} == {202, 422}
    assert len({reply.json()["jobId"] for reply in accepted}) == 1
    assert len(accepted) == 30


async def _race_across_a_kill(service: Service, delay: float) -> None:
    """A hundred clients post under one key until each has its 202, the service dies meanwhile."""
    headers, task = key(), {"type": "sleep", "ms": 50, "options": {"priority": 3}}

    async def post(http: Client) -> tuple[str, Any]:
        while True:
            try:
                reply = await http.post("/tasks", task, headers=headers)
            except aiohttp.ClientError:
                await asyncio.sleep(0.1)
                continue
            if reply.status == 202:
                return reply.json()["jobId"], reply
            assert reply.status == 503, reply
            await asyncio.sleep(0.05)

    async with service.client() as http:
        posts = [asyncio.create_task(post(http)) for _ in range(100)]
        await asyncio.sleep(delay)
        await service.restart()
        ids = {job_id for job_id, _ in await asyncio.gather(*posts)}
        assert len(ids) == 1
        await http.finished(ids.pop())
        assert (await http.post("/tasks", task, headers=headers)).headers["Idempotent-Replayed"] == "true"


async def _raced_rounds(service: Service, delays: list[float]) -> None:
    await service.start()
    for delay in delays:
        await _race_across_a_kill(service, delay)
    async with service.client() as http:
        assert len(await http.all_jobs()) == len(delays)
    assert len(await service.rows_when(len(delays))) == len(delays)


async def test_raced_across_kills_there_is_one_job(make):
    await _raced_rounds(make(), [0.02])


@pytest.mark.soak
@pytest.mark.timeout(300)
async def test_raced_across_many_kills_there_is_one_job(make):
    await _raced_rounds(make(), [0.004 * (n + 1) for n in range(20)])
