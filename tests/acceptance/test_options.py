"""What a submitter may say about how a job is run."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.sse import whole_log

if TYPE_CHECKING:
    from tests.acceptance.service import Client


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def stamp(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- timeouts ---


@pytest.mark.parametrize("kind", ["sleep", "thread-sleep"])
async def test_timeout(http: Client, kind: str):
    snapshot = await http.run({"type": kind, "ms": 15000, "options": {"timeoutMs": 150}})
    assert (snapshot["status"], snapshot["errorCode"], snapshot["result"]) == ("failed", "timeout", None)
    ran = moment(snapshot["finishedAt"]) - moment(snapshot["startedAt"])
    assert timedelta(milliseconds=140) < ran < timedelta(seconds=10)


async def test_time_in_the_queue_is_not_run_time(lone: Client):
    blocker = await lone.submit({"type": "sleep", "ms": 600})
    snapshot = await lone.run({"type": "sleep", "ms": 50, "options": {"timeoutMs": 400}})
    assert snapshot["status"] == "completed"
    await lone.finished(blocker)


async def test_the_timeout_counts_per_attempt(http: Client):
    retry = {"maxAttempts": 3, "initialDelayMs": 1}
    snapshot = await http.run({"type": "sleep", "ms": 15000, "options": {"timeoutMs": 60, "retry": retry}})
    assert (snapshot["status"], snapshot["errorCode"], snapshot["attempt"]) == ("failed", "timeout", 3)


async def test_the_default_timeout_is_a_setting(make):
    service = await make({"jobTimeoutMs": 150}).start()
    async with service.client() as http:
        assert (await http.run({"type": "sleep", "ms": 20000}))["errorCode"] == "timeout"
        longer = {"type": "sleep", "ms": 400, "options": {"timeoutMs": 5000}}
        assert (await http.run(longer))["status"] == "completed"


# -- retries ---


async def test_a_retry_that_succeeds(http: Client):
    retry = {"maxAttempts": 3, "initialDelayMs": 10}
    snapshot = await http.run({"type": "flaky", "failures": 2, "options": {"retry": retry}})
    assert (snapshot["status"], snapshot["attempt"], snapshot["result"]) == ("completed", 3, {"attempt": 3})
    assert snapshot["error"] is None
    assert snapshot["errorCode"] is None
    names = [event.name for event in await whole_log(http, snapshot["jobId"])]
    assert names == ["created", "started", "retrying", "started", "retrying", "started", "completed"]


async def test_retries_that_run_out(http: Client):
    retry = {"maxAttempts": 3, "initialDelayMs": 1}
    snapshot = await http.run({"type": "raise", "message": "again 77", "options": {"retry": retry}})
    assert (snapshot["status"], snapshot["attempt"], snapshot["errorCode"]) == ("failed", 3, "handler-error")
    assert "again 77" in snapshot["error"]


async def test_without_retry_there_is_one_attempt(http: Client):
    assert (await http.run({"type": "flaky"}))["attempt"] == 1


async def test_an_error_that_is_final_is_not_retried(http: Client):
    snapshot = await http.run({"type": "final-error", "options": {"retry": {"maxAttempts": 5}}})
    assert (snapshot["status"], snapshot["attempt"]) == ("failed", 1)
    assert "never work" in snapshot["error"]


async def test_a_bad_result_may_be_the_last_word(http: Client):
    retry = {"maxAttempts": 2, "initialDelayMs": 1}
    task = {"type": "flaky-result", "failures": 9, "options": {"retry": retry}}
    snapshot = await http.run(task)
    assert (snapshot["status"], snapshot["attempt"], snapshot["result"]) == ("completed", 2, {"last": 2})
    assert (await http.run({**task, "failures": 1}))["result"] == {"good": 2}


async def test_between_attempts_a_job_is_pending_and_says_until_when(http: Client):
    retry = {"maxAttempts": 20, "initialDelayMs": 600_000, "maxDelayMs": 600_000}
    job_id = await http.submit({"type": "flaky", "failures": 19, "options": {"retry": retry}})
    deadline = time.monotonic() + 15
    while "nextAttemptAt" not in (snapshot := await http.snapshot(job_id)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    assert snapshot["status"] == "pending"
    assert snapshot["attempt"] >= 2
    assert moment(snapshot["nextAttemptAt"]) <= datetime.now(UTC) + timedelta(seconds=601)
    cancelled = await http.delete(f"/tasks/{job_id}")
    assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")


async def test_gaps_stay_under_their_maximum(http: Client):
    retry = {"maxAttempts": 8, "initialDelayMs": 10, "factor": 10, "maxDelayMs": 50}
    start = time.monotonic()
    snapshot = await http.run({"type": "raise", "options": {"retry": retry}})
    assert snapshot["attempt"] == 8
    assert time.monotonic() - start < 10


# -- order ---


async def test_priority_first_then_order_of_submission(lone: Client):
    blocker = await lone.submit({"type": "sleep", "ms": 700})
    await lone.until_status(blocker, "running")
    priorities = [0, -100, 100, 0, 100, -100, 50]
    ids = [await lone.submit({"type": "sleep", "ms": 5, "options": {"priority": p}}) for p in priorities]
    snapshots = [await lone.finished(job_id) for job_id in ids]
    started = sorted(range(len(ids)), key=lambda index: snapshots[index]["startedAt"])
    assert started == [2, 4, 6, 0, 3, 1, 5]


# -- due times ---


async def test_a_delay_is_kept(http: Client):
    snapshot = await http.run({"options": {"delayMs": 400}})
    waited = moment(snapshot["startedAt"]) - moment(snapshot["createdAt"])
    assert timedelta(milliseconds=395) <= waited < timedelta(seconds=10)


@pytest.mark.parametrize("zone", [UTC, None])
async def test_start_at_is_kept(http: Client, zone):
    due = (datetime.now(UTC) + timedelta(milliseconds=600)).astimezone(zone)
    text = stamp(due) if zone else due.isoformat(timespec="milliseconds")
    snapshot = await http.run({"options": {"startAt": text}})
    assert timedelta(milliseconds=-5) <= moment(snapshot["startedAt"]) - due < timedelta(seconds=10)


async def test_start_at_in_the_past_is_now(http: Client):
    start = time.monotonic()
    await http.run({"options": {"startAt": "2020-01-01T00:00:00.000Z"}})
    assert time.monotonic() - start < 10


async def test_a_delayed_job_is_pending_and_blocks_nobody(lone: Client):
    delayed = await lone.submit({"options": {"delayMs": 600_000, "priority": 100}})
    assert (await lone.run({}))["status"] == "completed"
    assert (await lone.snapshot(delayed))["status"] == "pending"
    assert (await lone.delete(f"/tasks/{delayed}")).json()["status"] == "cancelled"


async def test_a_job_that_does_not_start_in_time_expires(lone: Client):
    blocker = await lone.submit({"type": "sleep", "ms": 15000})
    await lone.until_status(blocker, "running")
    start = time.monotonic()
    snapshot = await lone.run({"options": {"expireMs": 300}})
    assert 0.29 < time.monotonic() - start < 10
    assert (snapshot["status"], snapshot["errorCode"], snapshot["startedAt"]) == ("failed", "expired", None)
    assert snapshot["error"]
    await lone.delete(f"/tasks/{blocker}")


async def test_a_job_that_started_does_not_expire(http: Client):
    assert (await http.run({"type": "sleep", "ms": 500, "options": {"expireMs": 200}}))[
        "status"
    ] == "completed"


# -- concurrency keys ---


def most_at_once(snapshots: list[dict]) -> int:
    spans = [(s["result"]["start"], s["result"]["end"]) for s in snapshots]
    return max(sum(start <= point < end for start, end in spans) for point, _ in spans)


async def test_at_most_so_many_of_one_key(http: Client):
    options = {"concurrencyKey": "two", "concurrencyLimit": 2}
    task = {"type": "span", "ms": 50, "options": options}
    assert most_at_once(list(await asyncio.gather(*(http.run(task) for _ in range(12))))) == 2


async def test_a_busy_key_does_not_block_others(http: Client):
    busy = {"concurrencyKey": "busy", "concurrencyLimit": 1, "priority": 100}
    ids = [await http.submit({"type": "sleep", "ms": 60000, "options": busy}) for _ in range(60)]
    free = {"concurrencyKey": "free", "concurrencyLimit": 1}
    assert (await http.run({"options": free}))["status"] == "completed"
    assert (await http.run({}))["status"] == "completed"
    await asyncio.gather(*(http.delete(f"/tasks/{job_id}") for job_id in reversed(ids)))


async def test_a_key_waiting_for_its_retry_gives_its_place_away(http: Client):
    key = {"concurrencyKey": "retry", "concurrencyLimit": 1}
    retry = {"maxAttempts": 2, "initialDelayMs": 600_000, "maxDelayMs": 600_000}
    waiting = await http.submit({"type": "raise", "options": {**key, "retry": retry}})
    await http.until_status(waiting, "pending")
    assert (await http.run({"options": key}))["status"] == "completed"
    await http.delete(f"/tasks/{waiting}")


@pytest.mark.timeout(200)
async def test_a_thousand_jobs_over_ten_keys(make):
    service = await make({"maxConcurrentTasks": 50}).start()
    tasks = [
        {"type": "span", "ms": 20, "options": {"concurrencyKey": f"key {n % 10}", "concurrencyLimit": 1}}
        for n in range(1000)
    ]
    async with service.client() as http:
        reply = await http.post("/tasks/batch", tasks)
        assert reply.status == 202
        start = time.monotonic()
        done = await asyncio.gather(*(http.finished(job["jobId"], 60) for job in reply.json()["jobs"]))
        took = time.monotonic() - start
    spans = [(s["result"]["start"], s["result"]["end"]) for s in done]
    for key in range(10):
        mine = sorted(spans[key::10])
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(mine))
    assert most_at_once(done) == 10
    busy = sum(end - start for start, end in spans)
    whole = max(end for _, end in spans) - min(start for start, _ in spans)
    assert busy / whole > 5, f"only {busy / whole:.1f} of 10 usable slots were used"
    assert took < 60
