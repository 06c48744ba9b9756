"""The stand-in answers as the official client expects, and fails as told: tests rely on both."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import aiohttp
import pytest
from apify_client import ApifyClientAsync
from apify_client.errors import ApifyApiError

from tests.platform.api import DATASET_ID, PRICING, RUN_ID, STORE_ID
from tests.platform.standin import TOKEN, StandIn
from tests.platform.storage import Fault


@pytest.fixture
def client(platform: StandIn) -> ApifyClientAsync:
    return ApifyClientAsync(TOKEN, api_url=platform.url, max_retries=0)


async def test_records_are_kept_listed_and_removed(client: ApifyClientAsync) -> None:
    store = client.key_value_store(STORE_ID)
    assert await store.get() is not None
    for key in ("b", "a", "other"):
        await store.set_record(key, b"x" * 2000, content_type="application/octet-stream")
    record = await store.get_record_as_bytes("a")
    assert record is not None
    assert record["value"] == b"x" * 2000
    page = await store.list_keys(limit=2)
    assert ([item.key for item in page.items], page.is_truncated) == (["a", "b"], True)
    assert [item.key async for item in store.iterate_keys(prefix="o")] == ["other"]
    await store.delete_record("a")
    assert await store.get_record("a") is None


async def test_items_are_kept_in_order(client: ApifyClientAsync) -> None:
    dataset = client.dataset(DATASET_ID)
    await dataset.push_items([{"n": n, "m": 0} for n in range(5)])
    await dataset.push_items(json.dumps([{"n": 5}]))
    page = await dataset.list_items(desc=True, limit=2, offset=1, fields=["n"])
    assert page.items == [{"n": 4}, {"n": 3}]
    assert page.total == 6


async def test_reads_lag_behind_writes_when_told(client: ApifyClientAsync, platform: StandIn) -> None:
    platform.lag = 0.2
    dataset, store = client.dataset(DATASET_ID), client.key_value_store(STORE_ID)
    await dataset.push_items([{"n": 1}])
    await store.set_record("a", b"x")
    assert not (await dataset.list_items()).items
    assert not (await store.list_keys()).items
    await asyncio.sleep(0.25)
    assert (await dataset.list_items()).items
    assert (await store.list_keys()).items


async def test_charges_count_once_for_each_key(client: ApifyClientAsync, platform: StandIn) -> None:
    run = client.run(RUN_ID)
    with pytest.raises(ApifyApiError):
        await run.charge("completed-job")
    platform.pricing = PRICING
    for key in ("a", "a", "b"):
        await run.charge("completed-job", count=2, idempotency_key=key)
    found = await run.get()
    assert found is not None
    assert found.charged_event_counts == {"completed-job": 4}
    assert found.pricing_info is not None


@pytest.mark.parametrize(
    ("fault", "written"),
    [
        (Fault("status", status=429), False),
        (Fault("status", applied=True), True),
        (Fault("cut"), False),
        (Fault("cut", applied=True), True),
        (Fault("hang", seconds=1), False),
        (Fault("hang", applied=True, seconds=1), True),
        (Fault("late", seconds=0.01), True),
    ],
    ids=lambda value: f"{value.kind}-{value.applied}" if isinstance(value, Fault) else "",
)
async def test_it_fails_before_or_after_the_write(
    client: ApifyClientAsync, platform: StandIn, fault: Fault, written: bool
) -> None:
    platform.faults = [fault]
    with pytest.raises(Exception, match=r"."):
        await client.key_value_store(STORE_ID).set_record("a", b"x", timeout=timedelta(seconds=0.3))
    await asyncio.sleep(0.05)
    assert (platform.storage.record("a") is not None) is written


async def test_calls_above_the_rate_are_refused(client: ApifyClientAsync, platform: StandIn) -> None:
    store = client.key_value_store(STORE_ID)
    answers = await asyncio.gather(*(store.get_record(str(n)) for n in range(230)), return_exceptions=True)
    assert sum(isinstance(answer, ApifyApiError) for answer in answers) == 30
    assert platform.meter.busiest_second("get-record") == 230
    assert platform.meter.refused["record"] == 30


async def test_records_and_pushes_above_the_size_limit_are_refused(client: ApifyClientAsync) -> None:
    with pytest.raises(ApifyApiError) as error:
        await client.key_value_store(STORE_ID).set_record("a", bytes(9_500_000), content_encoding="identity")
    assert error.value.status_code == 413


async def test_events_reach_the_socket(platform: StandIn) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(platform.url.replace("http", "ws") + "/events") as events,
    ):
        await asyncio.to_thread(platform.send_event, "migrating")
        assert (await events.receive_json(timeout=2))["name"] == "migrating"
