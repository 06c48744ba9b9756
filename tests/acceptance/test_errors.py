"""Every error is a problem document with a status, a code and a text for people."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.raw import conversation

if TYPE_CHECKING:
    from tests.acceptance.service import Client, Service

NO_JOB = "00000000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nowhere"),
        ("POST", "/tasks/nowhere/at/all"),
        ("GET", f"/tasks/{NO_JOB}"),
        ("GET", "/tasks/not-a-uuid"),
        ("DELETE", f"/tasks/{NO_JOB}"),
        ("POST", f"/tasks/{NO_JOB}/cancel"),
        ("POST", f"/tasks/{NO_JOB}/replay"),
        ("POST", f"/tasks/{NO_JOB}/wait"),
        ("GET", f"/tasks/{NO_JOB}/events"),
        ("GET", "/tasks/%00"),
        ("GET", "/tasks/%ff%fe"),
        ("GET", "/tasks/" + "a" * 3000),
        ("GET", "/tasks/"),
    ],
)
async def test_not_found(http: Client, method: str, path: str):
    (await http.request(method, path)).problem(404)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/tasks", {"GET", "POST"}),
        ("PATCH", "/tasks", {"GET", "POST"}),
        ("DELETE", "/tasks", {"GET", "POST"}),
        ("GET", "/run-and-wait", {"POST"}),
        ("GET", "/tasks/batch", {"POST"}),
        ("POST", "/health", {"GET"}),
        ("POST", "/metrics", {"GET"}),
        ("POST", "/", {"GET"}),
        ("PUT", f"/tasks/{NO_JOB}", {"GET", "DELETE"}),
        ("GET", f"/tasks/{NO_JOB}/wait", {"POST"}),
        ("GET", f"/tasks/{NO_JOB}/cancel", {"POST"}),
        ("PROPFIND", "/tasks", {"GET", "POST"}),
    ],
)
async def test_method_not_allowed(http: Client, method: str, path: str, allowed: set[str]):
    reply = await http.request(method, path)
    reply.problem(405)
    assert {name.strip() for name in reply.headers["Allow"].split(",")} - {"HEAD", "OPTIONS"} == allowed


async def test_each_kind_of_error_has_its_own_code(http: Client):
    replies = await asyncio.gather(
        http.get("/nowhere"),
        http.request("PUT", "/tasks"),
        http.post("/tasks", {"type": "nope"}),
        http.post("/tasks", data=b"{}", headers={"Content-Type": "text/plain"}),
        http.post("/tasks", data=b" " * 2**21, headers={"Content-Type": "application/json"}),
    )
    statuses = [404, 405, 400, 415, 413]
    codes = [reply.problem(status)["code"] for reply, status in zip(replies, statuses, strict=True)]
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("path", ["/tasks", "/run-and-wait", "/tasks/batch"])
async def test_a_body_over_the_limit(http: Client, path: str):
    body = b'{"payload": "' + b"x" * (1024 * 1024) + b'"}'
    (await http.post(path, data=body, headers={"Content-Type": "application/json"})).problem(413)


async def test_a_body_at_the_limit(http: Client):
    body = b'{"payload": "' + b"x" * (1024 * 1024 - 100_000) + b'"}'
    reply = await http.post("/tasks", data=body, headers={"Content-Type": "application/json"})
    assert reply.status == 202


async def test_a_chunked_body_over_the_limit(http: Client):
    async def endless():
        for _ in range(40):
            yield b" " * 65536

    reply = await http.post("/tasks", data=endless(), headers={"Content-Type": "application/json"})
    reply.problem(413)


async def test_the_limit_is_a_setting(make):
    service = await make({"maxBodyBytes": 4096}).start()
    async with service.client() as http:
        assert (await http.post("/tasks", {"payload": "x" * 3000})).status == 202
        (await http.post("/tasks", {"payload": "x" * 4096})).problem(413)


async def test_compressed_bodies(http: Client):
    headers = {"Content-Type": "application/json"}
    gzipped = {**headers, "Content-Encoding": "gzip"}
    reply = await http.post("/run-and-wait", data=gzip.compress(b'{"payload": "zip"}'), headers=gzipped)
    assert (reply.status, reply.json()["result"]["payload"]) == (200, "zip")
    deflated = {**headers, "Content-Encoding": "deflate"}
    assert (await http.post("/tasks", data=zlib.compress(b"{}"), headers=deflated)).status == 202


async def test_a_body_that_is_not_compressed_as_it_says(http: Client):
    headers = {"Content-Type": "application/json"}
    for encoding in ("gzip", "deflate", "br"):
        bad = {**headers, "Content-Encoding": encoding}
        (await http.post("/tasks", data=b"not compressed at all", headers=bad)).problem(400)
        assert (await http.post("/tasks", {})).status == 202, "the connection was given up without a word"


@pytest.mark.parametrize("coding", ["zz", "gzip, br", "x-gzip"])
async def test_a_coding_that_nobody_knows_is_not_taken_for_none(http: Client, coding: str):
    headers = {"Content-Type": "application/json", "Content-Encoding": coding}
    problem = (await http.post("/tasks", data=b"{}", headers=headers)).problem(415)
    assert "gzip" in problem["detail"]


@pytest.mark.parametrize(
    "start",
    [
        b"BREW /tasks HTTP/1.1",
        b"GET /tasks HTTP/9.9",
        b"GET tasks HTTP/1.1",
        b"GET /tasks HTTP/1.1\r\nno colon",
        b"GET /tasks HTTP/1.1\r\nX-Long: " + b"x" * 50_000,
        b"GET /" + b"x" * 50_000 + b" HTTP/1.1",
        b"GET //tasks HTTP/1.1",
    ],
)
async def test_what_is_hardly_http_gets_a_problem_too(shared: Service, start: bytes):
    host = f"127.0.0.1:{shared.port}".encode()
    answer = await conversation(shared.port, start + b"\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0]
    assert int(head.split()[1]) in (400, 404, 405, 414, 431, 501, 505), head
    assert b"application/problem+json" in head, answer


async def test_a_compressed_bomb_is_over_the_limit(http: Client):
    bomb = gzip.compress(b" " * 50_000_000 + b"{}")
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    (await http.post("/tasks", data=bomb, headers=headers)).problem(413)


async def test_expect_continue_is_answered(shared: Service):
    head = b"POST /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    raw = head + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    assert b" 202 " in await conversation(shared.port, raw)


async def test_replay_of_an_open_job_is_a_conflict(http: Client):
    job_id = await http.submit({"type": "sleep", "ms": 60000})
    (await http.post(f"/tasks/{job_id}/replay")).problem(409)
    await http.post(f"/tasks/{job_id}/cancel")


async def test_head_requests_have_no_body(http: Client):
    reply = await http.request("HEAD", "/health")
    assert (reply.status, reply.body) == (200, b"")


async def test_an_expectation_that_nobody_knows_is_refused(shared: Service, http: Client):
    (await http.post("/tasks", {}, headers={"Expect": "a miracle"})).problem(417)
    (await http.post("/tasks", {}, headers={"Expect": "100-Continue"})).json()


@pytest.mark.parametrize("expect", [b"", b"Expect: 100-continue\r\n"])
async def test_a_body_that_is_announced_as_too_large_is_not_waited_for(shared: Service, expect: bytes):
    head = b"POST /tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    reply = await conversation(shared.port, head + expect + b"Content-Length: 99999999999\r\n\r\n")
    assert reply.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in reply


async def test_a_body_that_is_not_what_its_encoding_says_is_named_so(http: Client):
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    detail = (await http.post("/tasks", data=b"plain", headers=headers)).problem(400)["detail"]
    assert detail == "The body cannot be read: Can not decode content-encoding: gzip."


@pytest.mark.parametrize("number", [b"1e999", b"-1E+400", b"9" * 400 + b".0"])
async def test_a_number_beyond_all_bounds_is_refused(http: Client, number: bytes):
    body = b'{"payload":' + number + b"}"
    reply = await http.post("/tasks", data=body, headers={"Content-Type": "application/json"})
    assert "beyond all bounds" in reply.problem(400, "invalid-task")["detail"]
