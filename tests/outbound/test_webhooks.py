from __future__ import annotations

import asyncio
import itertools
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web

from async_endpoint.errors import DeliveryNotFound
from async_endpoint.jobs.clock import JobIds, iso, now_ms
from async_endpoint.jobs.model import Job, JobOptions, JobStatus, WebhookOptions
from async_endpoint.jobs.records import job_change
from async_endpoint.jobs.retention import Retention
from async_endpoint.jobs.store import JobStore
from async_endpoint.outbound.deliveries import Delivery, DeliveryStatus
from async_endpoint.outbound.lanes import Limits
from async_endpoint.outbound.posting import Request
from async_endpoint.outbound.session import open_session
from async_endpoint.outbound.webhooks import Webhooks
from tests.outbound.receiver import SECRET, Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DELAYS = (60, 120, 240, 480)
ids = JobIds()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JobStore]:
    async with opened(tmp_path) as one:
        yield one


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[JobStore]:
    store = JobStore(folder / "jobs.sqlite")
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def sending(store: JobStore, **more: Any) -> AsyncIterator[Webhooks]:
    """Webhooks at work on a store, stopped at once at the end."""
    async with open_session(allow_private=more.pop("allow_private", True), user_agent="tests") as session:
        webhooks = Webhooks(store, session, **{"delays_ms": DELAYS, **more})
        webhooks.start()
        yield webhooks
        await webhooks.stop(0)


def hook(url: str, **more: Any) -> WebhookOptions:
    return WebhookOptions.model_validate_json(json.dumps({"url": url, "secret": SECRET, **more}))


def ended(*hooks: WebhookOptions, **more: Any) -> Job:
    at = now_ms()
    job = Job(ids(), "echo", b'{"type":"echo"}', at, JobOptions(webhooks=hooks))
    done = {"status": JobStatus.COMPLETED, "finished_at": at, "result": b'{"a":"\xc3\xa9"}', "row": 1}
    return job.evolve(**{**done, **more})


async def happen(store: JobStore, webhooks: Webhooks, job: Job, event: str = "completed") -> Job:
    """A transition, as the registry makes it."""
    changes = [job_change(job), *webhooks.changes(job, event)]
    await store.write(changes, lambda: webhooks.committed(job, event)).settled()
    return job


async def settled(webhooks: Webhooks, job: Job, seconds: float = 10) -> list[Delivery]:
    """The job's ledger once nothing about it is owed."""
    async with asyncio.timeout(seconds):
        while webhooks.owes(job.id):
            await asyncio.sleep(0.01)
    return webhooks.ledger(job.id)


def statuses(delivery: Delivery) -> list[int | None]:
    return [attempt.status for attempt in delivery.attempts]


class TestDelivery:
    async def test_a_receiver_gets_the_jobs_snapshot_signed(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        async with sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url + "/hook")))
            [got] = await receiver.wait_for(1)
            [delivery] = await settled(webhooks, job)
        assert got.verified() == {
            "type": "job.completed",
            "timestamp": iso(job.finished_at or 0),
            "data": json.loads(job.snapshot_json()),
        }
        assert got.id == delivery.id
        assert got.headers["Content-Type"] == "application/json"
        assert (delivery.status, statuses(delivery)) == (DeliveryStatus.DELIVERED, [200])

    async def test_a_failing_receiver_gets_the_same_message_in_growing_gaps(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        receiver.replies["/hook"] = [500, 500, 500, 500, 200]
        async with sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url + "/hook")))
            got = await receiver.wait_for(5)
            [delivery] = await settled(webhooks, job)
        assert len({one.id for one in got}) == len({one.body for one in got}) == 1
        assert all(one.verified() for one in got)
        gaps = [later.at - sooner.at for sooner, later in itertools.pairwise(got)]
        assert gaps == sorted(gaps)
        assert all(gap * 1000 >= delay for gap, delay in zip(gaps, DELAYS, strict=True))
        assert statuses(delivery) == [500, 500, 500, 500, 200]
        assert webhooks.attempts == {"retried": 4, "delivered": 1}

    async def test_it_is_given_up_when_the_schedule_is_used_up(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        receiver.replies["/"] = [404]
        async with sending(store, delays_ms=(1, 1)) as webhooks:
            [delivery] = await settled(webhooks, await happen(store, webhooks, ended(hook(receiver.url))))
        assert (delivery.status, statuses(delivery)) == (DeliveryStatus.FAILED, [404, 404, 404])

    @pytest.mark.parametrize("status", [301, 307])
    async def test_redirects_are_failures_and_not_followed(
        self, store: JobStore, receiver: Receiver, status: int
    ) -> None:
        receiver.replies["/"] = [(status, {"Location": receiver.url + "/elsewhere"})]
        async with sending(store, delays_ms=()) as webhooks:
            [delivery] = await settled(webhooks, await happen(store, webhooks, ended(hook(receiver.url))))
        assert (delivery.status, statuses(delivery)) == (DeliveryStatus.FAILED, [status])
        assert receiver.at("/elsewhere") == []

    async def test_gone_stops_it(self, store: JobStore, receiver: Receiver) -> None:
        receiver.replies["/"] = [410]
        async with sending(store) as webhooks:
            [delivery] = await settled(webhooks, await happen(store, webhooks, ended(hook(receiver.url))))
        assert (delivery.status, statuses(delivery)) == (DeliveryStatus.FAILED, [410])

    async def test_retry_after_is_honoured(self, store: JobStore, receiver: Receiver) -> None:
        receiver.replies["/"] = [(503, {"Retry-After": "1"}), 200]
        async with sending(store, delays_ms=(1,)) as webhooks:
            await happen(store, webhooks, ended(hook(receiver.url)))
            first, second = await receiver.wait_for(2)
        assert 1 <= second.at - first.at < 2

    async def test_no_answer_is_a_failure_in_time(self, store: JobStore, receiver: Receiver) -> None:
        receiver.replies["/"] = ["hang"]
        async with sending(store, delays_ms=()) as webhooks:
            webhooks.sources.insert(0, lambda job, event: [owed(job, receiver.url, timeout_ms=100)])
            [delivery] = await settled(
                webhooks, await happen(store, webhooks, ended(notes={"from": "elsewhere"}))
            )
        assert delivery.attempts[0].error == "no answer within 100 ms"
        assert 100 <= delivery.attempts[0].ms < 1000

    async def test_answers_that_are_none_are_failures(self, store: JobStore, receiver: Receiver) -> None:
        async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"\x00\xffnothing like HTTP\r\n\r\n")
            writer.close()

        receiver.replies["/cut"] = ["cut"]
        server = await asyncio.start_server(garbage, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, sending(store, delays_ms=()) as webhooks:
            hooks = hook(receiver.url + "/cut"), hook(f"http://127.0.0.1:{port}"), hook("http://127.0.0.1:1")
            deliveries = await settled(webhooks, await happen(store, webhooks, ended(*hooks)))
        assert [delivery.status for delivery in deliveries] == ["failed"] * 3
        assert [statuses(delivery) for delivery in deliveries] == [[None]] * 3
        assert all(delivery.attempts[0].error for delivery in deliveries)

    async def test_a_kept_connection_that_was_closed_is_no_failed_attempt(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        async with sending(store) as webhooks:
            for _ in range(2):
                job = await happen(store, webhooks, ended(hook(receiver.url + "/")))
                [delivery] = await settled(webhooks, job)
                assert statuses(delivery) == [200]
                receiver.replies["/"] = ["cut", 200]
        assert len(receiver.got) == 3

    async def test_an_endless_answer_is_not_read(self, store: JobStore, receiver: Receiver) -> None:
        async def endless(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"x" * 65536)
                await asyncio.sleep(0)

        receiver.replies["/"] = [endless]
        async with sending(store) as webhooks:
            [delivery] = await settled(webhooks, await happen(store, webhooks, ended(hook(receiver.url))))
        assert delivery.status is DeliveryStatus.DELIVERED

    async def test_a_private_address_is_refused_for_good(self, store: JobStore, receiver: Receiver) -> None:
        async with sending(store, allow_private=False) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url), hook("ftp://example.com")))
            deliveries = await settled(webhooks, job)
        assert [(one.status, len(one.attempts)) for one in deliveries] == [("failed", 1), ("failed", 1)]
        assert all(str(one.attempts[0].error).startswith("refused: ") for one in deliveries)
        assert receiver.got == []

    async def test_own_headers_are_sent_but_do_not_replace_the_signatures(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        own = {"Authorization": "Basic YQ==", "Webhook-Id": "mine", "content-type": "text/plain"}
        async with sending(store) as webhooks:
            await happen(store, webhooks, ended(hook(receiver.url, headers=own)))
            [got] = await receiver.wait_for(1)
        assert got.headers["Authorization"] == "Basic YQ=="
        assert got.verified()
        assert got.headers.getall("content-type") == ["application/json"]  # type: ignore[attr-defined]

    async def test_without_a_secret_it_is_not_signed(self, store: JobStore, receiver: Receiver) -> None:
        async with sending(store) as webhooks:
            await happen(store, webhooks, ended(WebhookOptions(url=receiver.url)))
            [got] = await receiver.wait_for(1)
        assert "webhook-signature" not in got.headers


class TestEvents:
    async def test_terminal_events_are_told_unless_others_are_named(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        async with sending(store) as webhooks:
            hooks = (
                hook(receiver.url + "/default"),
                hook(receiver.url + "/failed", events=["job.failed"]),
                hook(receiver.url + "/started", events=["job.started", "job.completed"]),
            )
            done = ended(*hooks)
            started = done.evolve(status=JobStatus.RUNNING, finished_at=None, result=None, row=None)
            await happen(store, webhooks, started, "started")
            await happen(store, webhooks, done)
            deliveries = await settled(webhooks, done)
            await happen(store, webhooks, failed := ended(*hooks).evolve(status=JobStatus.FAILED), "failed")
            await settled(webhooks, failed)
        assert sorted(one.event for one in deliveries) == ["job.completed", "job.completed", "job.started"]
        told = sorted((got.path, got.verified()["type"]) for got in receiver.got)
        assert told == [
            ("/default", "job.completed"),
            ("/default", "job.failed"),
            ("/failed", "job.failed"),
            ("/started", "job.completed"),
            ("/started", "job.started"),
        ]

    async def test_an_earlier_event_shows_the_job_as_it_was(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        receiver.replies["/"] = [500, 200]
        async with sending(store) as webhooks:
            done = ended(hook(receiver.url, events=["job.started"]))
            started = done.evolve(status=JobStatus.RUNNING, finished_at=None, result=None, row=None)
            await happen(store, webhooks, started, "started")
            await happen(store, webhooks, done)
            got = await receiver.wait_for(2)
        assert [one.verified()["data"]["status"] for one in got] == ["running", "running"]

    async def test_global_receivers_are_told_about_every_job(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        async with sending(store, receivers=[hook(receiver.url + "/all")]) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url + "/own")))
            assert len(await settled(webhooks, job)) == 2
        assert sorted(got.path for got in receiver.got) == ["/all", "/own"]

    async def test_another_kind_of_webhook_can_be_added(self, store: JobStore, receiver: Receiver) -> None:
        async with sending(store, delays_ms=()) as webhooks:
            webhooks.sources.append(
                lambda job, event: [owed(job, receiver.url, kind="other", extra={"n": 1}, delays_ms=(1,))]
            )
            webhooks.renderers["other"] = lambda delivery, snapshot, at: Request(
                {"X-Kind": "other"}, json.dumps([delivery.extra, json.loads(snapshot)["status"]]).encode()
            )
            receiver.replies["/"] = [500, 200]
            await happen(store, webhooks, ended(notes={"from": "elsewhere"}))
            got = await receiver.wait_for(2)
        assert [(one.headers["X-Kind"], one.json()) for one in got] == [
            ("other", [{"n": 1}, "completed"])
        ] * 2

    async def test_a_request_that_cannot_be_made_is_a_failed_attempt(
        self, store: JobStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with sending(store, delays_ms=(1,)) as webhooks:
            webhooks.sources.append(lambda job, event: [owed(job, receiver.url, kind="unknown")])
            with caplog.at_level(logging.CRITICAL):
                [delivery] = await settled(
                    webhooks, await happen(store, webhooks, ended(notes={"from": "elsewhere"}))
                )
        assert (delivery.status, statuses(delivery)) == (DeliveryStatus.FAILED, [None, None])


class TestDurability:
    async def test_the_schedule_goes_on_after_a_restart(self, tmp_path: Path, receiver: Receiver) -> None:
        receiver.replies["/"] = [500, 500, 200]
        async with opened(tmp_path) as store, sending(store, delays_ms=(400, 400)) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            await receiver.wait_for(1)
            while not webhooks.ledger(job.id)[0].attempts:
                await asyncio.sleep(0.01)
        async with opened(tmp_path) as store, sending(store, delays_ms=(400, 400)) as webhooks:
            assert webhooks.owes(job.id)
            got = await receiver.wait_for(3)
            [delivery] = await settled(webhooks, job)
        assert len({one.id for one in got}) == 1
        assert all(later.at - sooner.at >= 0.4 for sooner, later in itertools.pairwise(got))
        assert statuses(delivery) == [500, 500, 200]

    async def test_what_was_owed_and_never_tried_is_sent_by_the_next_start(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        async with opened(tmp_path) as store, open_session(allow_private=True, user_agent="t") as session:
            unstarted = Webhooks(store, session)
            job = await happen(store, unstarted, ended(hook(receiver.url)))
            assert receiver.got == []
        async with opened(tmp_path) as store, sending(store) as webhooks:
            await receiver.wait_for(1)
            await settled(webhooks, job)
            assert webhooks.open == 0

    async def test_an_attempt_cut_off_by_a_stop_is_made_again(
        self, tmp_path: Path, receiver: Receiver
    ) -> None:
        receiver.replies["/"] = ["hang", 200]
        async with opened(tmp_path) as store, sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            await receiver.wait_for(1)
        async with opened(tmp_path) as store, sending(store) as webhooks:
            [delivery] = await settled(webhooks, job)
        assert [got.id for got in receiver.got] == [delivery.id] * 2
        assert statuses(delivery) == [200]

    async def test_a_stop_lets_attempts_end(self, store: JobStore, receiver: Receiver) -> None:
        async def slow(request: web.Request) -> web.StreamResponse:
            await asyncio.sleep(0.2)
            return web.Response()

        receiver.replies["/"] = [slow]
        async with sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            await receiver.wait_for(1)
            await webhooks.stop(5)
        await store.flush()
        assert statuses(webhooks.ledger(job.id)[0]) == [200]

    async def test_a_job_is_kept_until_its_deliveries_are_settled(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        release = asyncio.Event()

        async def slow(request: web.Request) -> web.StreamResponse:
            await release.wait()
            return web.Response()

        receiver.replies["/slow"] = [slow]
        async with sending(store) as webhooks:
            retention = Retention(store, 24, 0, [lambda job: webhooks.owes(job.id)])
            slow_one = await happen(store, webhooks, ended(hook(receiver.url + "/slow"), row=1))
            done = await happen(store, webhooks, ended(hook(receiver.url), hook(receiver.url), row=2))
            await settled(webhooks, done)
            await retention.sweep()
            assert (store.job(done.id), webhooks.ledger(done.id)) == (None, [])
            assert store.job(slow_one.id) is not None
            release.set()
            await settled(webhooks, slow_one)
            await retention.sweep()
        assert store.job(slow_one.id) is None
        assert store.scan("deliveries") == store.scan("owed") == []


class TestRedeliver:
    async def test_a_settled_delivery_is_sent_again(self, store: JobStore, receiver: Receiver) -> None:
        async with sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            [delivery] = await settled(webhooks, job)
            asked = await webhooks.redeliver(job.id, delivery.id)
            assert (asked.status, webhooks.owes(job.id)) == (DeliveryStatus.PENDING, True)
            [delivery] = await settled(webhooks, job)
        assert statuses(delivery) == [200, 200]
        assert len({got.id for got in receiver.got}) == 1

    async def test_a_waiting_delivery_is_sent_at_once(self, store: JobStore, receiver: Receiver) -> None:
        receiver.replies["/"] = [500, 200]
        async with sending(store, delays_ms=(60_000,)) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            await receiver.wait_for(1)
            while webhooks.ledger(job.id)[0].due == webhooks.ledger(job.id)[0].at:
                await asyncio.sleep(0.01)
            await webhooks.redeliver(job.id, webhooks.ledger(job.id)[0].id)
            [delivery] = await settled(webhooks, job)
        assert statuses(delivery) == [500, 200]

    async def test_one_that_is_being_sent_is_not_sent_twice(
        self, store: JobStore, receiver: Receiver
    ) -> None:
        release = asyncio.Event()

        async def slow(request: web.Request) -> web.StreamResponse:
            await release.wait()
            return web.Response()

        receiver.replies["/"] = [slow]
        async with sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            await receiver.wait_for(1)
            await webhooks.redeliver(job.id, webhooks.ledger(job.id)[0].id)
            release.set()
            [delivery] = await settled(webhooks, job)
        assert statuses(delivery) == [200]

    async def test_several_requests_at_once_are_one(self, store: JobStore, receiver: Receiver) -> None:
        async with sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            [delivery] = await settled(webhooks, job)
            await asyncio.gather(*(webhooks.redeliver(job.id, delivery.id) for _ in range(10)))
            [delivery] = await settled(webhooks, job)
        assert statuses(delivery) == [200, 200]

    async def test_an_unknown_delivery_is_not_found(self, store: JobStore) -> None:
        async with sending(store) as webhooks:
            with pytest.raises(DeliveryNotFound):
                await webhooks.redeliver(ids(), "nope")


class TestFairness:
    async def test_receivers_that_hang_do_not_delay_others(self, store: JobStore, receiver: Receiver) -> None:
        receiver.replies |= {"/0": ["hang"], "/1": ["hang"]}
        hooks = [hook(f"{receiver.url}/{number}") for number in range(5)]
        async with sending(store, limits=Limits(total=8, origin=7, receiver=2)) as webhooks:
            for number in range(100):
                await happen(store, webhooks, ended(hooks[number % 5]))
            for path in ("/2", "/3", "/4"):
                assert len(await receiver.wait_for(20, path, 5)) == 20
            assert len(receiver.at("/0")) == len(receiver.at("/1")) == 2

    async def test_no_more_are_under_way_than_the_limit(self, store: JobStore, receiver: Receiver) -> None:
        under_way = most = 0

        async def count(request: web.Request) -> web.StreamResponse:
            nonlocal under_way, most
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            return web.Response()

        receiver.replies = {f"/{number}": [count] for number in range(10)}
        async with sending(store, limits=Limits(total=3)) as webhooks:
            for number in range(30):
                await happen(store, webhooks, ended(hook(f"{receiver.url}/{number % 10}")))
            await receiver.wait_for(30)
        assert most == 3


class TestSecrets:
    async def test_no_secret_is_logged_or_shown(
        self, store: JobStore, receiver: Receiver, caplog: pytest.LogCaptureFixture
    ) -> None:
        receiver.replies["/"] = [(500, {"Retry-After": "1"})]
        secret_hook = hook(receiver.url + "/?key=s3cr3t", headers={"Authorization": "s3cr3t"})
        with caplog.at_level(logging.DEBUG):
            async with sending(store, delays_ms=(1,)) as webhooks:
                job = await happen(store, webhooks, ended(secret_hook))
                await receiver.wait_for(1)
                while not webhooks.ledger(job.id)[0].attempts:
                    await asyncio.sleep(0.01)
                shown = json.dumps(webhooks.ledger(job.id)[0].shown())
        for text in (shown, caplog.text):
            assert "s3cr3t" not in text
            assert SECRET not in text
            assert "500" in text


def owed(job: Job, url: str, **more: Any) -> Delivery:
    return Delivery(
        **{"id": f"{job.id}-x", "job_id": job.id, "event": "e", "at": 1, "url": url, "due": 1, **more}
    )
