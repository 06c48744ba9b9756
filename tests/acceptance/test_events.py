"""The stream of a job's events: complete, in order, resumable; and the stream of all transitions."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.sse import LAST, Event, Parser, events_of, whole_log

if TYPE_CHECKING:
    import aiohttp

    from tests.acceptance.service import Client, Service


async def test_the_log_of_an_ended_job(http: Client):
    ended = await http.run({"type": "step", "ms": 10})
    events = await whole_log(http, ended["jobId"])
    names = [event.name for event in events]
    assert names[:2] == ["created", "started"]
    assert names[-1] == "completed"
    assert set(names[2:-1]) <= {"progress", "log"}
    assert "log" in names
    assert "progress" in names
    assert "nearly there" in str([event.data for event in events if event.name == "progress"])
    assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
    assert all(isinstance(event.data, dict) for event in events)
    assert "look out: steep" in str([event.data for event in events if event.name == "log"])


async def test_the_stream_is_live_and_closes_with_the_end(http: Client):
    job_id = await http.submit({"type": "step", "ms": 1200})
    async with http.session.get(f"/tasks/{job_id}/events") as response:
        seen = [(event.name, (await http.snapshot(job_id))["status"]) async for event in events_of(response)]
    assert ("started", "running") in seen
    assert ("progress", "running") in seen
    assert seen[-1] == ("completed", "completed")


@pytest.mark.parametrize(("task", "last"), [({}, "completed"), ({"type": "raise"}, "failed")])
async def test_the_last_event_can_be_had_again(http: Client, task, last: str):
    job_id = (await http.run(task))["jobId"]
    events = await whole_log(http, job_id)
    assert events[-1].name == last
    assert await whole_log(http, job_id) == events
    for event, following in zip(events, range(1, len(events)), strict=False):
        assert await whole_log(http, job_id, after=event.id) == events[following:]


async def test_who_has_seen_the_end_gets_204(http: Client):
    job_id = (await http.run({}))["jobId"]
    last = (await whole_log(http, job_id))[-1].id
    for options in ({"headers": {"Last-Event-ID": last}}, {"params": {"after": last}}):
        reply = await http.get(f"/tasks/{job_id}/events", **options)
        assert (reply.status, reply.body) == (204, b"")


async def test_after_in_the_query(http: Client):
    job_id = (await http.run({}))["jobId"]
    events = await whole_log(http, job_id)
    async with http.session.get(f"/tasks/{job_id}/events?after=1") as response:
        assert [event async for event in events_of(response)] == events[1:]


@pytest.mark.parametrize("last", ["abc", "-1", "1.5", "99999999999999999999999"])
async def test_an_odd_last_event_id_is_no_500(http: Client, last: str):
    job_id = (await http.run({}))["jobId"]
    reply = await http.get(f"/tasks/{job_id}/events", headers={"Last-Event-ID": last})
    assert reply.status in (200, 204, 400)


async def test_headers_of_a_stream(http: Client):
    job_id = (await http.run({}))["jobId"]
    async with http.session.get(f"/tasks/{job_id}/events") as response:
        assert response.headers["Content-Type"].split(";")[0] == "text/event-stream"
        assert "no-" in response.headers["Cache-Control"]


async def _read_with_cuts(
    http: Client, job_id: str, cuts: int, chance: random.Random
) -> tuple[list[Event], int]:
    """Everything an EventSource dispatches when its connection is cut after random numbers of bytes."""
    seen: list[Event] = []
    done = 0
    while True:
        budget = chance.randrange(300) if done < cuts else 2**30
        headers = {"Last-Event-ID": seen[-1].id} if seen else {}
        async with http.session.get(f"/tasks/{job_id}/events", headers=headers) as response:
            if response.status == 204:
                return seen, done
            assert response.status == 200
            seen += await _read_bytes(response, budget)
            response.close()
        done += 1


async def _read_bytes(response: aiohttp.ClientResponse, budget: int) -> list[Event]:
    parser, events = Parser(), []
    while budget > 0 and (chunk := await response.content.read(min(budget, 4096))):
        budget -= len(chunk)
        events += parser.feed(chunk)
    return [event for event in events if event.name != "comment"]


async def test_a_reader_cut_off_two_hundred_times_sees_every_event_once(http: Client):
    chance = random.Random(200)
    job_id = await http.submit({"type": "talk", "lines": 80, "pause_ms": 10})
    seen, cuts = await _read_with_cuts(http, job_id, 200, chance)
    ids = [int(event.id) for event in seen]
    assert cuts >= 200
    assert ids == list(range(1, len(ids) + 1))
    assert seen == await whole_log(http, job_id)
    lines = [event for event in seen if event.name == "log"]
    assert len(lines) == 80
    assert all(f"line {number + 1}" in str(line.data) for number, line in enumerate(lines))


async def test_a_log_is_capped_and_says_so(http: Client):
    ended = await http.run({"type": "chatty", "times": 20_000})
    reply = await http.get(f"/tasks/{ended['jobId']}/events")
    assert len(reply.body) < 5_000_000
    events = [event for event in Parser().feed(reply.body) if event.name != "comment"]
    assert events[0].name == "created"
    assert events[-1].name == "completed"
    assert len(events) < 20_000
    assert [int(e.id) for e in events] == sorted({int(e.id) for e in events})
    assert "drop" in reply.body.decode().lower()


async def test_transitions_reach_a_reader_across_a_kill(make):
    service: Service = await make().start()
    async with service.client() as http:
        job_id = await http.submit({"type": "talk", "lines": 40, "pause_ms": 25})
        seen: list[Event] = []
        async with http.session.get(f"/tasks/{job_id}/events") as response:
            async for event in events_of(response):
                seen.append(event)
                if len(seen) == 12:
                    break
        await service.restart()
        seen += await whole_log(http, job_id, after=seen[-1].id)
        snapshot = await http.snapshot(job_id)
    ids = [int(event.id) for event in seen]
    assert ids == sorted(set(ids))
    names = [event.name for event in seen if event.name not in ("log", "progress")]
    assert names[:2] == ["created", "started"]
    assert names[-2:] == ["started", "completed"]
    assert snapshot["attempt"] == 2


async def test_the_stream_of_all_jobs(make):
    service: Service = await make().start()
    async with service.client() as http:
        earlier = (await http.run({"payload": "before"}))["jobId"]
        async with http.session.get("/events") as response:
            stream = events_of(response)
            jobs = [(await http.run({"payload": n}))["jobId"] for n in range(3)]
            failed = (await http.run({"type": "raise"}))["jobId"]
            seen = []
            async with asyncio.timeout(20):
                while sum(event.name in LAST for event in seen) < 4:
                    seen.append(await anext(stream))
    text = str(seen)
    assert earlier not in text
    for job_id in jobs:
        assert [e.name for e in seen if job_id in str(e.data)] == ["created", "started", "completed"]
    assert [e.name for e in seen if failed in str(e.data)][-1] == "failed"


async def test_slow_readers_cost_the_service_nothing(make):
    service: Service = await make({"maxConcurrentTasks": 4}).start()
    async with service.client() as http:
        readers = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(20)]
        for _, writer in readers:
            writer.write(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        for _ in range(5):
            reply = await http.post("/tasks/batch", [{"payload": "x" * 700}] * 1000)
            assert reply.status == 202
        assert (await http.finished(reply.json()["jobs"][-1]["jobId"]))["status"] == "completed"
        assert (await http.run({}))["status"] == "completed"
        for _, writer in readers:
            writer.close()


async def test_open_streams_do_not_hold_up_a_stop(make):
    service: Service = await make().start()
    async with service.client() as http:
        job_id = await http.submit({"options": {"delayMs": 600_000}})
        streams = [await http.session.get(path) for path in (f"/tasks/{job_id}/events", "/events")]
        await asyncio.sleep(0.2)
        start = asyncio.get_running_loop().time()
        assert await service.terminate() == 0
        assert asyncio.get_running_loop().time() - start < 8
        for stream in streams:
            stream.close()
