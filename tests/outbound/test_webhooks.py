from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from async_endpoint.jobs.clock import iso
from async_endpoint.jobs.model import JobStatus, WebhookOptions
from async_endpoint.outbound.deliveries import DeliveryStatus
from async_endpoint.outbound.posting import Request
from tests.outbound.ledgers import DELAYS, ended, happen, hook, owed, sending, settled, statuses

if TYPE_CHECKING:
    from async_endpoint.jobs.store import JobStore
    from tests.outbound.receiver import Receiver


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

    async def test_what_is_no_request_is_given_up(self, store: JobStore, receiver: Receiver) -> None:
        async with sending(store) as webhooks:
            hooks = hook("nope"), hook("http://[::"), hook(receiver.url, headers={"X": "a\nb"})
            job = await happen(store, webhooks, ended(*hooks))
            deliveries = await settled(webhooks, job)
        assert {(one.status, one.attempts[0].error) for one in deliveries} == {
            ("failed", "the URL or a header is not valid")
        }

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
