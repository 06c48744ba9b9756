"""The list of jobs: newest first, filtered, in pages that a cursor joins without gaps or repeats."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from tests.acceptance.service import Client, Service


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory):
    """A service whose jobs only these tests make."""
    service = Service(tmp_path_factory.mktemp("listed"), {"maxConcurrentTasks": 2})
    try:
        yield service.launch_until_ready()
    finally:
        service.kill_sync()


@pytest.fixture
async def http(listed: Service):
    async with listed.client() as client:
        yield client


async def test_list_is_empty_at_first(make):
    service = await make().start()
    async with service.client() as http:
        assert (await http.get("/tasks")).json() == {"items": [], "nextCursor": None}


async def test_newest_first_in_pages_of_a_hundred(http: Client):
    ids = [await http.submit({"payload": number}) for number in range(120)]
    page = (await http.get("/tasks")).json()
    assert len(page["items"]) == 100
    assert [item["jobId"] for item in page["items"]] == ids[:-101:-1]
    assert isinstance(page["nextCursor"], str)
    rest = (await http.get("/tasks", params={"cursor": page["nextCursor"]})).json()
    assert [item["jobId"] for item in rest["items"]][:20] == ids[19::-1]


async def test_pages_join_without_gaps_while_jobs_arrive(http: Client):
    ids = [await http.submit({}) for _ in range(25)]
    seen, cursor = [], None
    for _ in range(100):
        params = {"limit": "7", **({"cursor": cursor} if cursor else {})}
        page = (await http.get("/tasks", params=params)).json()
        seen += [item["jobId"] for item in page["items"]]
        cursor = page["nextCursor"]
        await http.submit({})
        if not cursor:
            break
    assert len(seen) == len(set(seen))
    assert seen == sorted(seen, reverse=True)
    assert set(ids) <= set(seen)


async def test_filters(http: Client):
    failed = await http.run({"type": "raise"})
    slept = await http.run({"type": "sleep", "ms": 1})
    cancelled = await http.submit({"type": "sleep", "ms": 60000})
    await http.post(f"/tasks/{cancelled}/cancel")
    await http.finished(cancelled)
    running = await http.submit({"type": "sleep", "ms": 60000})
    await http.until_status(running, "running")
    delayed = await http.submit({"options": {"delayMs": 600000}})
    by_status = {"failed": failed["jobId"], "completed": slept["jobId"], "cancelled": cancelled}
    by_status |= {"running": running, "pending": delayed}
    for status, job_id in by_status.items():
        items = await http.all_jobs(f"&status={status}")
        assert {item["status"] for item in items} == {status}
        assert job_id in [item["jobId"] for item in items]
    for kind in ("raise", "sleep", "echo"):
        items = await http.all_jobs(f"&type={kind}")
        assert items
        assert {item["task"].get("type", "echo") for item in items} == {kind}
    both = await http.all_jobs("&status=completed&type=sleep")
    assert {(item["status"], item["task"].get("type", "echo")) for item in both} == {("completed", "sleep")}
    assert await http.all_jobs("&type=no-such-type") == []
    for job_id in (running, delayed):
        await http.post(f"/tasks/{job_id}/cancel")


async def test_filter_by_time(http: Client):
    old = (await http.run({}))["jobId"]
    await asyncio.sleep(0.05)
    middle = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    await asyncio.sleep(0.05)
    new = (await http.run({}))["jobId"]
    after = [item["jobId"] for item in await http.all_jobs(f"&createdAfter={middle}")]
    before = [item["jobId"] for item in await http.all_jobs(f"&createdBefore={middle}")]
    assert new in after
    assert old not in after
    assert old in before
    assert new not in before
    assert set(after).isdisjoint(before)


async def test_times_may_carry_an_offset(http: Client):
    await http.run({})
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).astimezone(tz=None).isoformat()
    reply = await http.get("/tasks", params={"createdAfter": hour_ago})
    assert reply.status == 200
    assert reply.json()["items"]


@pytest.mark.parametrize(
    "query",
    [
        "status=asleep",
        "createdAfter=yesterday",
        "createdBefore=5x",
        "limit=abc",
        "limit=-1",
        "limit=1.5",
        "cursor=garbage",
        "cursor=%ff",
        "cursor=" + "A" * 500,
        "limit=99999999999999999999999",
        "createdAfter=9999999999999999999999",
    ],
)
async def test_bad_queries(http: Client, query: str):
    reply = await http.get(f"/tasks?{query}")
    if query.startswith("limit=9") and reply.status == 200:
        return  # clamping an excessive limit is as good as refusing it
    reply.problem(400)


async def test_items_are_snapshots(http: Client):
    job = await http.run({"payload": {"deep": [1]}})
    items = (await http.get("/tasks?limit=1")).json()["items"]
    assert items == [job]


async def test_a_page_ends_at_8_mib(http: Client):
    ids = [await http.submit({"payload": "x" * 900_000}) for _ in range(6)]
    await asyncio.gather(*(http.finished(job_id) for job_id in ids))
    reply = await http.get("/tasks?limit=1000")
    assert len(reply.body) < 11 * 2**20
    page = reply.json()
    assert page["items"]
    assert page["nextCursor"]
    everything = [item["jobId"] for item in await http.all_jobs()]
    assert everything == sorted(set(everything), reverse=True)
    assert set(ids) <= set(everything)


async def test_the_list_outlives_the_process(make):
    service = await make().start()
    async with service.client() as http:
        for number in range(15):
            await http.run({"payload": number})
        first = (await http.get("/tasks?limit=5")).json()
        everything = await http.all_jobs()
        await service.restart()
    async with service.client() as http:
        assert await http.all_jobs() == everything
        second = (await http.get("/tasks", params={"limit": "5", "cursor": first["nextCursor"]})).json()
    assert first["items"] + second["items"] == everything[:10]


async def test_pairs_of_times_are_in_order(http: Client):
    created = [item["createdAt"] for item in await http.all_jobs()]
    assert all(newer >= older for newer, older in pairwise(created))
