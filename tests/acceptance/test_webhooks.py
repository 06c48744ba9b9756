"""Webhooks out of the real process: signed, retried, listed, sent again, and not lost when it is killed."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from contextlib import asynccontextmanager

import pytest

from tests.acceptance.service import Service
from tests.outbound.receiver import SECRET, receiving

LOCAL = {"allowPrivateNetworks": True}


def task(*urls, **webhook):
    webhooks = [{"url": url, "secret": SECRET, **webhook} for url in urls]
    return {"payload": 1, "options": {"webhooks": webhooks}}


async def ledger(http, job_id):
    reply = await http.get(f"/tasks/{job_id}/webhooks")
    assert reply.status == 200, reply.body
    return reply.json()["items"]


async def settled(http, job_id, seconds=15):
    """The job's deliveries once none of them is pending."""
    deadline = time.monotonic() + seconds
    while True:
        items = await ledger(http, job_id)
        if all(delivery["status"] != "pending" for delivery in items):
            return items
        assert time.monotonic() < deadline, items
        await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
def calling(tmp_path_factory):
    """A service that may call local receivers and tries again soon."""
    service = Service(tmp_path_factory.mktemp("calling"), {**LOCAL, "webhookRetryDelaysMs": [300]})
    try:
        yield service.launch_until_ready()
    finally:
        service.kill_sync()


@pytest.fixture
async def http(calling):
    async with calling.client() as client:
        yield client


@pytest.fixture
async def receiver():
    async with receiving() as one:
        yield one


async def test_a_receiver_gets_the_snapshot_and_the_ledger_says_so(http, receiver):
    snapshot = await http.run(task(receiver.url + "/hook"))
    [got] = await receiver.wait_for(1)
    [delivery] = await settled(http, snapshot["jobId"])
    message = got.verified()
    assert (message["type"], message["timestamp"]) == ("job.completed", snapshot["finishedAt"])
    assert message["data"] == snapshot
    assert delivery == {
        "deliveryId": got.id,
        "event": "job.completed",
        "url": receiver.url + "/hook",
        "status": "delivered",
        "createdAt": snapshot["finishedAt"],
        "nextAttemptAt": None,
        "attempts": [
            {
                "time": delivery["attempts"][0]["time"],
                "status": 200,
                "ms": delivery["attempts"][0]["ms"],
                "error": None,
            }
        ],
    }


async def test_every_end_and_every_named_event_is_told(http, receiver):
    events = ["job.created", "job.started", "job.retrying", "job.completed", "job.failed", "job.cancelled"]
    hooks = [{"url": receiver.url + "/all", "events": events}, {"url": receiver.url + "/ends"}]
    options = {"webhooks": hooks, "retry": {"maxAttempts": 2, "initialDelayMs": 1}}
    ended = [
        await http.run({"type": "flaky", "failures": 1, "options": options}),
        await http.run({"type": "final-error", "options": options}),
        await http.snapshot(
            (await http.post("/tasks", {"options": {**options, "delayMs": 60_000}})).json()["jobId"]
        ),
    ]
    await http.post(f"/tasks/{ended[2]['jobId']}/cancel")
    await receiver.wait_for(7 + 3 + 2)
    told = Counter((got.path, got.json()["type"]) for got in receiver.got)
    assert (
        told
        == {
            ("/all", "job.created"): 3,
            ("/all", "job.started"): 3,
            ("/all", "job.retrying"): 1,
            ("/all", "job.completed"): 1,
            ("/all", "job.failed"): 1,
            ("/all", "job.cancelled"): 1,
            ("/ends", "job.completed"): 1,
            ("/ends", "job.failed"): 1,
            ("/ends", "job.cancelled"): 1,
        }
        or told - Counter() == told
    )


async def test_the_schedule_goes_on_through_kills(make, receiver):
    receiver.replies["/hook"] = [500, 500, 500, 500, 204]
    delays = [500, 1500, 2500, 3500]
    service = await make({**LOCAL, "webhookRetryDelaysMs": delays}).start()
    async with service.client() as http:
        job = await http.run(task(receiver.url + "/hook"))
        for attempt in (1, 2, 3):
            while len((await ledger(http, job["jobId"]))[0]["attempts"]) < attempt:
                await asyncio.sleep(0.02)
            await service.restart()
        got = await receiver.wait_for(5, seconds=20)
        [delivery] = await settled(http, job["jobId"])
    gaps = [later.at - sooner.at for sooner, later in itertools.pairwise(got)]
    assert all(gap * 1000 >= delay for gap, delay in zip(gaps, delays, strict=True)), gaps
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 500, 500, 500, 204]
    assert delivery["status"] == "delivered"
    assert {one.id for one in got} == {delivery["deliveryId"]}
    assert all(one.verified()["data"] == job for one in got)


async def test_an_attempt_that_a_kill_cuts_off_is_listed_and_made_again(make, receiver):
    receiver.replies["/hook"] = ["hang", "hang", 204]
    service = await make(LOCAL).start()
    async with service.client() as http:
        job_id = await http.submit(task(receiver.url + "/hook"))
        for attempt in (1, 2):
            await receiver.wait_for(attempt)
            await service.restart()
        [delivery] = await settled(http, job_id)
    assert len(receiver.got) == 3
    assert [attempt["status"] for attempt in delivery["attempts"]] == [None, None, 204]


async def test_a_job_that_was_waiting_at_a_kill_is_told_with_its_secret(make, receiver):
    service = await make(LOCAL).start()
    async with service.client() as http:
        waiting = task(receiver.url)
        waiting["options"]["delayMs"] = 2500
        job_id = await http.submit(waiting)
        await service.restart()
        job = await http.finished(job_id)
        [got] = await receiver.wait_for(1)
    assert got.verified()["data"] == job


async def test_receivers_that_hang_do_not_delay_the_others(make):
    async with many_receivers(10) as receivers:
        for one in receivers[:2]:
            one.replies["/"] = ["hang"]
        service = await make({**LOCAL, "maxConcurrentTasks": 50}).start()
        async with service.client() as http:
            tasks = [task(receivers[number % 10].url + "/") for number in range(1000)]
            start = time.monotonic()
            reply = await http.post("/tasks/batch", tasks)
            assert reply.status == 202
            for one in receivers[2:]:
                await one.wait_for(100, seconds=10)
            assert time.monotonic() - start < 5
        await service.kill()
    ids = [got.id for one in receivers[2:] for got in one.got]
    assert len(ids) == len(set(ids)) == 800


@asynccontextmanager
async def many_receivers(count):
    async with receiving() as one:
        if count == 1:
            yield [one]
        else:
            async with many_receivers(count - 1) as others:
                yield [one, *others]


async def test_global_webhooks_are_told_about_every_job(make, receiver):
    hooks = [{"url": receiver.url + "/global", "secret": SECRET, "events": ["job.completed"]}]
    service = await make({**LOCAL, "webhooks": hooks}).start()
    async with service.client() as http:
        job = await http.run({"payload": 1})
        await http.run({"type": "final-error"})
        [got] = await receiver.wait_for(1)
        assert got.verified()["data"]["jobId"] == job["jobId"]
        assert len(await settled(http, job["jobId"])) == 1
    assert len(receiver.got) == 1


async def test_a_delivery_can_be_sent_again(http, receiver):
    receiver.replies["/hook"] = [410, 200]
    job = await http.run(task(receiver.url + "/hook"))
    [delivery] = await settled(http, job["jobId"])
    assert (delivery["status"], len(delivery["attempts"])) == ("failed", 1)
    reply = await http.post(f"/tasks/{job['jobId']}/webhooks/{delivery['deliveryId']}/redeliver")
    assert (reply.status, reply.json()["status"]) == (202, "pending")
    [delivery] = await settled(http, job["jobId"])
    assert [attempt["status"] for attempt in delivery["attempts"]] == [410, 200]
    assert len({got.id for got in receiver.got}) == 1


async def test_unknown_jobs_and_deliveries_are_not_found(http):
    job = await http.run({"payload": 1})
    missing = "01890a5d-ac96-774b-bcce-b302099a8057"
    assert await ledger(http, job["jobId"]) == []
    (await http.get(f"/tasks/{missing}/webhooks")).problem(404, "job-not-found")
    (await http.post(f"/tasks/{missing}/webhooks/x/redeliver")).problem(404, "job-not-found")
    (await http.post(f"/tasks/{job['jobId']}/webhooks/x/redeliver")).problem(404, "delivery-not-found")


@pytest.mark.parametrize(
    ("webhook", "path"),
    [
        ({"url": "ftp://example.com"}, "options.webhooks.0.url"),
        ({"url": "https://user:pass@example.com"}, "options.webhooks.0.url"),
        ({"url": "https://example.com", "events": ["job.exploded"]}, "options.webhooks.0.events.0"),
        ({"url": "https://example.com", "events": []}, "options.webhooks.0.events"),
        ({"url": "https://example.com", "secret": "not base64!"}, "options.webhooks.0.secret"),
        ({"url": "https://example.com", "headers": {"Host": "x"}}, "options.webhooks.0.headers"),
        ({"url": "https://example.com", "method": "PUT"}, "options.webhooks.0.method"),
    ],
)
async def test_a_webhook_that_could_not_be_delivered_is_refused(http, webhook, path):
    reply = await http.post("/tasks", {"options": {"webhooks": [webhook]}})
    assert [error["path"] for error in reply.problem(400, "invalid-task")["errors"]] == [path]


async def test_private_addresses_are_refused_unless_allowed(shared, receiver):
    async with shared.client() as http:
        job = await http.run(task(receiver.url))
        [delivery] = await settled(http, job["jobId"])
    assert delivery["status"] == "failed"
    assert delivery["attempts"][0]["error"].startswith("refused: ")
    assert receiver.got == []


async def test_no_secret_of_a_webhook_is_shown_sent_streamed_logged_or_in_a_row(make, receiver):
    receiver.replies["/hook"] = [500, 200]
    service = await make({**LOCAL, "webhookRetryDelaysMs": [10]}).start()
    headers = {"Authorization": "Basic c3VycHJpc2U=", "X-Api-Key": "k-surprise", "X-Kept": "kept"}
    hook = {"url": receiver.url + "/hook?sig=q-surprise", "secret": SECRET, "headers": headers}
    secrets = [SECRET, SECRET[6:], *list(headers.values())[:2]]
    async with service.client() as http:
        job = await http.run({"options": {"webhooks": [hook]}})
        got = await receiver.wait_for(2)
        await settled(http, job["jobId"])
        shown = (await http.get(f"/tasks/{job['jobId']}")).json()["task"]["options"]["webhooks"][0]
        events = (await http.get(f"/tasks/{job['jobId']}/events")).body.decode()
        listed = (await http.get(f"/tasks/{job['jobId']}/webhooks")).body.decode()
        [row] = await service.rows_when(1)
    assert got[1].headers["Authorization"] == headers["Authorization"]
    assert got[1].verified()["data"]["task"]["options"]["webhooks"][0] == shown
    assert (shown["secret"], shown["headers"]["Authorization"], shown["headers"]["X-Api-Key"]) == ("***",) * 3
    assert shown["headers"]["X-Kept"] == "kept"
    assert await service.terminate() == 0
    for text in (str(row), str(shown), got[1].body.decode(), events, listed, service.log):
        assert not [secret for secret in secrets if secret in text]
    assert "q-surprise" not in listed + service.log
