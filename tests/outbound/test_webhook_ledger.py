from __future__ import annotations

import asyncio
import itertools
import json
import logging
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from async_endpoint.errors import DeliveryNotFound
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.retention import Retention
from async_endpoint.outbound.deliveries import DeliveryStatus
from async_endpoint.outbound.lanes import Limits
from async_endpoint.outbound.session import open_session
from async_endpoint.outbound.webhooks import Webhooks
from tests.outbound.ledgers import ended, happen, hook, ids, opened, sending, settled, statuses
from tests.outbound.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from pathlib import Path

    from async_endpoint.jobs.store import JobStore


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
        assert statuses(delivery) == [None, 200]
        assert "the service ended" in (delivery.attempts[0].error or "")
        assert delivery.tries == 1

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
            retention = Retention(
                store, 24, 0, owes=[lambda job: webhooks.owes(job.id)], forget=lambda job_id: None
            )
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

    async def test_a_job_that_is_gone_cannot_be_told_of(self, store: JobStore, receiver: Receiver) -> None:
        async with sending(store) as webhooks:
            job = await happen(store, webhooks, ended(hook(receiver.url)))
            [delivery] = await settled(webhooks, job)
            await store.write([Change("jobs", job.id, None)]).settled()
            await webhooks.redeliver(job.id, delivery.id)
            [delivery] = await settled(webhooks, job)
        assert delivery.attempts[-1].error == "the job is no longer kept"

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
