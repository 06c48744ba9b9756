"""One wait path behind `/wait`, `/run-and-wait` and `Prefer`: what it answers, and when."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.service import Client

LONG = {"type": "sleep", "ms": 60000}


@pytest.fixture
async def long_job(http: Client):
    job_id = await http.submit(LONG)
    yield job_id
    await http.post(f"/tasks/{job_id}/cancel")


async def test_wait_answers_when_the_job_ends(http: Client):
    job_id = await http.submit({"type": "sleep", "ms": 300})
    start = time.monotonic()
    reply = await http.post(f"/tasks/{job_id}/wait")
    assert reply.status == 200
    assert reply.json()["status"] == "completed"
    assert time.monotonic() - start < 3


async def test_wait_for_an_ended_job_answers_at_once(http: Client):
    job_id = (await http.run({"payload": 1}))["jobId"]
    reply = await http.post(f"/tasks/{job_id}/wait?timeoutMs=0")
    assert (reply.status, reply.json()["jobId"]) == (200, job_id)


@pytest.mark.parametrize("milliseconds", ["0", "150", "-5"])
async def test_wait_gives_a_202_snapshot_at_its_timeout(http: Client, long_job: str, milliseconds: str):
    start = time.monotonic()
    reply = await http.post(f"/tasks/{long_job}/wait?timeoutMs={milliseconds}")
    assert reply.status == 202
    assert reply.json()["jobId"] == long_job
    assert reply.json()["status"] in ("pending", "running")
    assert max(int(milliseconds), 0) / 1000 - 0.01 <= time.monotonic() - start < 5


async def test_a_wait_that_ends_does_not_end_the_job(http: Client, long_job: str):
    await http.post(f"/tasks/{long_job}/wait?timeoutMs=10")
    await asyncio.sleep(0.1)
    assert (await http.snapshot(long_job))["status"] == "running"


async def test_wait_takes_its_timeout_from_the_body_too(http: Client, long_job: str):
    start = time.monotonic()
    assert (await http.post(f"/tasks/{long_job}/wait", {"timeoutMs": 100})).status == 202
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("value", ["abc", "", "NaN", "1s", "0x10"])
async def test_a_timeout_that_is_no_number_is_refused(http: Client, long_job: str, value: str):
    (await http.post(f"/tasks/{long_job}/wait?timeoutMs={value}")).problem(400)
    (await http.post(f"/run-and-wait?timeoutMs={value}", {})).problem(400)


@pytest.mark.parametrize("value", ["abc", True, [], {}])
async def test_a_timeout_in_the_body_that_is_no_number_is_refused(http: Client, long_job: str, value):
    (await http.post(f"/tasks/{long_job}/wait", {"timeoutMs": value})).problem(400)


async def test_timeouts_are_clamped_to_the_maximum(make):
    service = await make({"maxWaitTimeoutMs": 200, "defaultWaitTimeoutMs": 600000}).start()
    async with service.client() as http:
        job_id = await http.submit(LONG)
        start = time.monotonic()
        replies = await asyncio.gather(
            http.post(f"/tasks/{job_id}/wait"),
            http.post(f"/tasks/{job_id}/wait?timeoutMs=99999999999999999999"),
            http.post("/run-and-wait?timeoutMs=60000", LONG),
            http.post("/tasks", LONG, headers={"Prefer": "wait=60"}),
        )
    assert time.monotonic() - start < 8
    assert [reply.status for reply in replies] == [202] * 4


async def test_the_default_timeout_is_a_setting(make):
    service = await make({"defaultWaitTimeoutMs": 150}).start()
    async with service.client() as http:
        start = time.monotonic()
        assert (await http.post("/run-and-wait", LONG)).status == 202
        assert time.monotonic() - start < 5


async def test_run_and_wait_at_its_timeout_leaves_the_job_running(http: Client):
    reply = await http.post("/run-and-wait?timeoutMs=100", {"type": "sleep", "ms": 400})
    assert reply.status == 202
    assert (await http.finished(reply.json()["jobId"]))["status"] == "completed"


async def test_a_failed_job_is_still_200(http: Client):
    reply = await http.post("/run-and-wait", {"type": "raise"})
    assert (reply.status, reply.json()["status"]) == (200, "failed")


async def test_a_caller_that_leaves_does_not_end_the_job(http: Client):
    job_id = await http.submit({"type": "sleep", "ms": 700})
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(http.post(f"/tasks/{job_id}/wait"), 0.2)
    assert (await http.finished(job_id))["status"] == "completed"


async def test_many_waiters_get_the_same_answer(http: Client):
    job_id = await http.submit({"type": "sleep", "ms": 300})
    replies = await asyncio.gather(*(http.post(f"/tasks/{job_id}/wait") for _ in range(50)))
    assert {reply.status for reply in replies} == {200}
    assert len({reply.body for reply in replies}) == 1


async def test_wait_for_an_unknown_job(http: Client):
    for job_id in ("00000000-0000-7000-8000-000000000000", "nonsense"):
        (await http.post(f"/tasks/{job_id}/wait")).problem(404)


# -- Prefer (RFC 7240) ---


@pytest.mark.parametrize(
    "prefer",
    [
        "wait=10",
        "respond-async, wait=10",
        "WAIT=10",
        'wait="10"',
        "wait = 10",
        "handling=lenient, wait=10",
        "wait=10; x=y",
    ],
)
async def test_post_prefers_to_wait(http: Client, prefer: str):
    reply = await http.post("/tasks", {"type": "sleep", "ms": 50}, headers={"Prefer": prefer})
    assert reply.status == 200
    assert reply.json()["status"] == "completed"
    assert "wait=10" in reply.headers["Preference-Applied"].replace(" ", "").replace('"', "")


async def test_two_prefer_headers_are_one_list(http: Client):
    headers = [("Prefer", "respond-async"), ("Prefer", "wait=10")]
    reply = await http.post("/tasks", {"type": "sleep", "ms": 50}, headers=headers)
    assert reply.status == 200
    assert "wait" in reply.headers["Preference-Applied"]


async def test_post_at_the_end_of_a_preferred_wait(http: Client):
    reply = await http.post(
        "/tasks", {"type": "sleep", "ms": 1500}, headers={"Prefer": "respond-async, wait=0"}
    )
    assert reply.status == 202
    assert reply.json()["jobId"]
    assert reply.headers["Location"].endswith(reply.json()["jobId"])


async def test_respond_async_alone_answers_at_once(http: Client):
    reply = await http.post("/tasks", {"type": "sleep", "ms": 600}, headers={"Prefer": "respond-async"})
    assert reply.status == 202
    assert "respond-async" in reply.headers["Preference-Applied"]


@pytest.mark.parametrize(
    "prefer", ["wait=abc", "wait", "wait=-1", "wait=", ",,;=", "wait=1e3", "return=minimal", '"', "x" * 3000]
)
async def test_a_preference_that_cannot_be_honoured_is_ignored(http: Client, prefer: str):
    reply = await http.post("/tasks", {"type": "sleep", "ms": 300}, headers={"Prefer": prefer})
    assert reply.status == 202
    assert "wait" not in reply.headers.get("Preference-Applied", "")


async def test_get_prefers_to_wait(http: Client):
    job_id = await http.submit({"type": "sleep", "ms": 400})
    reply = await http.get(f"/tasks/{job_id}", headers={"Prefer": "wait=10"})
    assert (reply.status, reply.json()["status"]) == (200, "completed")
    assert "wait" in reply.headers["Preference-Applied"]


async def test_get_is_200_also_at_the_end_of_its_wait(http: Client, long_job: str):
    start = time.monotonic()
    reply = await http.get(f"/tasks/{long_job}", headers={"Prefer": "wait=1"})
    assert (reply.status, reply.json()["status"]) == (200, "running")
    assert 0.98 <= time.monotonic() - start < 6


# -- heartbeats ---


async def test_heartbeats_keep_a_wait_open(http: Client):
    chunks: list[tuple[float, bytes]] = []
    start = time.monotonic()
    async with http.session.post(
        "/run-and-wait?heartbeatMs=1000", json={"type": "sleep", "ms": 2600}
    ) as response:
        assert response.status == 200
        headers_after = time.monotonic() - start
        async for chunk, _ in response.content.iter_chunks():
            chunks.append((time.monotonic() - start, chunk))
    assert headers_after < 0.9
    blanks = [at for at, chunk in chunks if not chunk.strip()]
    assert len([at for at in blanks if at < 2.6]) >= 2
    snapshot = json.loads(b"".join(chunk for _, chunk in chunks))
    assert snapshot["status"] == "completed"


async def test_a_heartbeating_wait_at_its_timeout_is_a_200_with_an_open_status(http: Client, long_job: str):
    reply = await http.post(f"/tasks/{long_job}/wait?heartbeatMs=1000&timeoutMs=100")
    assert reply.status == 200
    assert reply.json()["status"] in ("pending", "running")


async def test_an_ended_job_with_heartbeats(http: Client):
    job_id = (await http.run({}))["jobId"]
    reply = await http.post(f"/tasks/{job_id}/wait?heartbeatMs=1000")
    assert (reply.status, reply.json()["jobId"]) == (200, job_id)


@pytest.mark.parametrize("value", ["999", "0", "-1", "abc", ""])
async def test_a_bad_heartbeat_is_refused_before_the_job_is_accepted(http: Client, value: str):
    before = (await http.get("/tasks?limit=1")).json()["items"][:1]
    (await http.post(f"/run-and-wait?heartbeatMs={value}", {})).problem(400)
    assert (await http.get("/tasks?limit=1")).json()["items"][:1] == before


async def test_a_refused_task_with_heartbeats_has_its_own_status(http: Client):
    (await http.post("/run-and-wait?heartbeatMs=1000", {"type": "nope"})).problem(400)


async def test_a_quoted_preference_is_one_preference(http: Client):
    reply = await http.post("/tasks", {"type": "sleep", "ms": 300}, headers={"Prefer": 'foo="a, wait=9"'})
    assert reply.status == 202
    assert "Preference-Applied" not in reply.headers


@pytest.mark.parametrize("digits", [10, 30, 5000])
async def test_the_longest_preference_is_clamped_like_any_other(http: Client, digits: int):
    reply = await http.post("/tasks", {}, headers={"Prefer": "wait=" + "9" * digits})
    assert reply.status == 200
    assert "Preference-Applied" in reply.headers
