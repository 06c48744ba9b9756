"""Fetch jobs through the real service."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.acceptance.sse import whole_log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

    from tests.acceptance.conftest import Factory
    from tests.acceptance.service import Client, Service


@pytest.fixture(scope="module")
def fetching(session_make: Factory) -> Service:
    """A service that may fetch from everywhere."""
    settings = {"allowFetchTasks": True, "allowPrivateNetworks": True, "maxConcurrentTasks": 50}
    return session_make(settings).launch_until_ready()


@pytest.fixture
async def client(fetching: Service) -> AsyncIterator[Client]:
    async with fetching.client() as http:
        yield http


@asynccontextmanager
async def serving(answer: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        yield str(server.make_url("/"))


async def test_fetch_is_refused_where_it_is_off(http: Client):
    task = {"type": "fetch", "url": "http://example.com/"}
    (await http.post("/tasks", task)).problem(403, "fetch-disabled")
    (await http.post("/run-and-wait", task)).problem(403, "fetch-disabled")
    (await http.post("/tasks/batch", [{"payload": 1}, task])).problem(403, "fetch-disabled")


async def test_a_fetch_that_waits_while_fetch_is_turned_off_does_not_go_out(make: Factory):
    service = make({"allowFetchTasks": True, "allowPrivateNetworks": True})
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response()

    async with serving(answer) as url:
        await service.start()
        task = {"type": "fetch", "url": url, "options": {"delayMs": 2000}}
        async with service.client() as http:
            job_id = await http.submit(task)
            service.settings["allowFetchTasks"] = False
            await service.restart()
            ended = await http.finished(job_id)
    assert (ended["status"], ended["errorCode"], asked) == ("failed", "handler-error", [])
    assert "allowFetchTasks" in ended["error"]


async def test_what_is_no_request_is_not_accepted(client: Client):
    for wrong in ({}, {"url": "nowhere"}, {"url": "http://a", "headers": {"Host": "b"}}, {"url": 5}):
        problem = (await client.post("/tasks", {"type": "fetch", **wrong})).problem(400, "invalid-task")
        assert problem["errors"][0]["path"] in {"url", "headers"}


async def test_a_private_address_is_blocked_at_the_first_attempt(make: Factory):
    service = await make({"allowFetchTasks": True}).start()
    async with service.client() as http:
        for url in (
            service.url,
            "http://localhost:1/",
            "http://[::1]/",
            "http://2130706433/",
            "file:///etc/passwd",
        ):
            options = {"retry": {"maxAttempts": 5, "initialDelayMs": 1}}
            job = await http.run({"type": "fetch", "url": url, "options": options})
            assert (job["status"], job["errorCode"], job["attempt"]) == ("failed", "fetch-blocked", 1), job
            assert job["error"].startswith("blocked: ")


async def test_a_server_in_trouble_is_asked_again_when_it_says(client: Client):
    asked: list[float] = []

    async def answer(_: web.Request) -> web.Response:
        asked.append(time.monotonic())
        if len(asked) < 3:
            return web.Response(status=503, headers={"Retry-After": "1"})
        return web.Response(text="at last")

    options = {"retry": {"maxAttempts": 5, "initialDelayMs": 1}}
    async with serving(answer) as url:
        job = await client.run({"type": "fetch", "url": url, "options": options})
    assert (job["status"], job["attempt"], job["result"]["body"]) == ("completed", 3, "at last")
    assert all(later - earlier >= 0.99 for earlier, later in itertools.pairwise(asked))


async def test_the_last_answer_counts_when_attempts_run_out(client: Client):
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=502, text="broken")

    options = {"retry": {"maxAttempts": 2, "initialDelayMs": 1}}
    async with serving(answer) as url:
        job = await client.run({"type": "fetch", "url": url, "options": options})
    assert (job["status"], job["attempt"], job["errorCode"]) == ("completed", 2, None)
    assert (job["result"]["status"], job["result"]["body"]) == (502, "broken")


async def test_no_answer_is_tried_again_and_then_fails(client: Client):
    connections = 0

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        options = {"retry": {"maxAttempts": 3, "initialDelayMs": 1}}
        job = await client.run({"type": "fetch", "url": url, "options": options})
    assert (job["status"], job["errorCode"], job["attempt"]) == ("failed", "fetch-failed", 3)
    assert connections == 3


async def test_cancelling_closes_the_socket(client: Client):
    ended = asyncio.Event()
    asked = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()
        return web.Response()

    async with serving(answer) as url:
        job_id = await client.submit({"type": "fetch", "url": url})
        await asyncio.wait_for(asked.wait(), 10)
        reply = await client.post(f"/tasks/{job_id}/cancel")
        assert (reply.status, reply.json()["status"]) == (200, "cancelled")
        await asyncio.wait_for(ended.wait(), 5)


async def test_credentials_are_sent_but_never_shown(client: Client, fetching: Service):
    secrets = {
        "Authorization": "Bearer s3cret-a",
        "Cookie": "s3cret-b",
        "X-Api-Key": "s3cret-c",
        "Proxy-Authorization": "s3cret-d",
    }
    seen: dict[str, str] = {}

    async def answer(request: web.Request) -> web.Response:
        seen.update(request.headers)
        return web.Response(text="fine")

    async with serving(answer) as url:
        job = await client.run({"type": "fetch", "url": url, "headers": secrets | {"X-Open": "shown"}})
    assert {name: seen[name] for name in secrets} == secrets
    assert job["task"]["headers"] == dict.fromkeys(secrets, "***") | {"X-Open": "shown"}
    events = await whole_log(client, job["jobId"])
    assert "s3cret" not in f"{job}{events}{fetching.log}"


async def test_the_saved_body_is_a_record_of_the_run(client: Client):
    page = b"<p>" + b"x" * 200_000

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=page, content_type="text/html")

    async with serving(answer) as url:
        job = await client.run({"type": "fetch", "url": url, "saveBodyAs": "page.html"})
    assert (job["result"]["truncated"], job["result"]["bytes"]) == (True, len(page))
    record = await client.get(f"/v2/actor-runs/{job['jobId']}/key-value-store/records/page.html")
    assert (record.status, record.body) == (200, page)
    assert record.headers["Content-Type"].split(";")[0] == "text/html"


async def test_many_jobs_leave_no_connection_behind(client: Client):
    open_now = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            pass
        finally:
            open_now -= 1
            writer.close()

    async with await asyncio.start_server(count, "127.0.0.1", 0) as server:
        task: dict[str, Any] = {
            "type": "fetch",
            "url": f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/",
        }
        reply = await client.post("/tasks/batch", [task] * 500)
        jobs = [await client.finished(job["jobId"]) for job in reply.json()["jobs"]]
        assert {job["result"]["body"] for job in jobs} == {"ok"}
        assert 1 <= open_now <= 50
        deadline = time.monotonic() + 10
        while open_now:
            assert time.monotonic() < deadline, f"{open_now} connections are left"
            await asyncio.sleep(0.1)
