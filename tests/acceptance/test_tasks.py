"""What a task may be: everything else is refused before anything is accepted."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.acceptance.service import Client

BAD_TASKS = [
    {"type": "nope"},
    {"type": None},
    {"type": 5},
    {"type": ""},
    {"type": "Echo"},
    {"type": "echo", "extra": 1},
    {"type": "sleep"},
    {"type": "sleep", "ms": None},
    {"type": "sleep", "ms": "100"},
    {"type": "sleep", "ms": -1},
    {"type": "sleep", "ms": 1.5},
    {"type": "sleep", "ms": True},
    {"type": "sleep", "ms": 5, "payload": 1},
    {"type": "flaky", "failures": "three"},
    {"options": []},
    {"options": {"unknown": 1}},
    {"options": {"timeoutMs": 0}},
    {"options": {"timeoutMs": -1}},
    {"options": {"timeoutMs": "5"}},
    {"options": {"retry": {"maxAttempts": 0}}},
    {"options": {"retry": {"maxAttempts": 21}}},
    {"options": {"retry": {"maxAttempts": 1.5}}},
    {"options": {"retry": {"initialDelayMs": -1}}},
    {"options": {"retry": {"maxDelayMs": -1}}},
    {"options": {"retry": {"factor": "2"}}},
    {"options": {"retry": {"factor": -2}}},
    {"options": {"retry": {"surprise": 1}}},
    {"options": {"retry": 3}},
    {"options": {"priority": 101}},
    {"options": {"priority": -101}},
    {"options": {"priority": "high"}},
    {"options": {"delayMs": -1}},
    {"options": {"delayMs": "1"}},
    {"options": {"startAt": "tomorrow"}},
    {"options": {"startAt": True}},
    {"options": {"delayMs": 1, "startAt": "2030-01-01T00:00:00.000Z"}},
    {"options": {"expireMs": -1}},
    {"options": {"concurrencyKey": 5}},
    {"options": {"concurrencyKey": ""}},
    {"options": {"concurrencyKey": "k", "concurrencyLimit": 0}},
    {"options": {"concurrencyKey": "k", "concurrencyLimit": "1"}},
    {"options": {"concurrencyLimit": 1}},
]


async def newest(http: Client) -> list[str]:
    """Ids on the first page of the list: they change with every accepted job."""
    return [item["jobId"] for item in (await http.get("/tasks?limit=5")).json()["items"]]


async def test_a_bad_task_is_refused_and_nothing_is_accepted(http: Client):
    before = await newest(http)
    paths = ("/tasks", "/run-and-wait")
    replies = await asyncio.gather(*(http.post(path, task) for task in BAD_TASKS for path in paths))
    wrong = []
    for reply, task in zip(replies, [task for task in BAD_TASKS for _ in paths], strict=True):
        if reply.status != 400:
            wrong.append((task, reply.status))
            continue
        problem = reply.problem(400)
        assert problem["errors"], task
        assert all(isinstance(e["path"], str) and e["message"] for e in problem["errors"]), task
    assert wrong == []
    assert await newest(http) == before


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ({"type": "sleep", "ms": "x"}, "ms"),
        ({"type": "sleep", "ms": 5, "surplus": 1}, "surplus"),
        ({"options": {"retry": {"maxAttempts": 99}}}, "maxAttempts"),
        ({"options": {"priority": 101}}, "priority"),
        ({"type": "nope"}, "type"),
    ],
)
async def test_the_problem_names_the_bad_field(http: Client, task, path: str):
    problem = (await http.post("/tasks", task)).problem(400, "invalid-task")
    assert any(path in error["path"] for error in problem["errors"]), problem


async def test_every_bad_field_is_named(http: Client):
    task = {"type": "sleep", "ms": "x", "surplus": 1, "options": {"priority": 101}}
    problem = (await http.post("/tasks", task)).problem(400)
    named = " ".join(error["path"] for error in problem["errors"])
    assert all(name in named for name in ("ms", "surplus", "priority")), problem


@pytest.mark.parametrize("body", ["[]", "5", '"echo"', "null", "true"])
async def test_a_task_is_an_object(http: Client, body: str):
    headers = {"Content-Type": "application/json"}
    (await http.post("/tasks", data=body, headers=headers)).problem(400)


async def test_all_options_are_accepted_and_shown(http: Client):
    options = {
        "timeoutMs": 5000,
        "retry": {"maxAttempts": 2, "initialDelayMs": 1, "factor": 1.5, "maxDelayMs": 10},
        "priority": -100,
        "delayMs": 1,
        "expireMs": 60000,
        "concurrencyKey": "all options",
        "concurrencyLimit": 2,
    }
    snapshot = await http.run({"payload": 1, "options": options})
    assert snapshot["status"] == "completed"
    assert snapshot["task"]["options"] == options


async def test_fetch_is_off_unless_allowed(http: Client):
    reply = await http.post("/tasks", {"type": "fetch", "url": "http://example.com/"})
    reply.problem(403, "fetch-disabled")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"payload": NaN}',
        b'{"payload": Infinity}',
        b'{"payload": -Infinity}',
        b"{'payload': 1}",
        b'{"payload": 1,}',
        b'{"payload": 01}',
        b'{"payload": "\xff"}',
        b'{"payload": "\xed\xa0\x80"}',
        b'{"payload": "\\ud800"}',
        b'{"payload": "tab\there"}',
        b'{"payload": ' + b"[" * 200_000,
        b'{"payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"payload": ' + b"1" * 10_000 + b"}",
        b"\xff\xfe{\x00}\x00",
        b"{} {}",
    ],
)
async def test_a_body_that_is_not_json_is_400(http: Client, body: bytes):
    reply = await http.post("/tasks", data=body, headers={"Content-Type": "application/json"})
    reply.problem(400)


async def test_a_number_too_large_for_a_float_never_becomes_bad_json(http: Client):
    reply = await http.post(
        "/run-and-wait", data=b'{"payload": [1e400, -1e999]}', headers={"Content-Type": "application/json"}
    )
    if reply.status == 400:
        reply.problem(400)
    else:
        assert reply.json()["status"] in ("completed", "failed")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"]
)
async def test_json_types(http: Client, content_type: str):
    body = json.dumps({"payload": "ü"}, ensure_ascii=False).encode()
    reply = await http.post("/run-and-wait", data=body, headers={"Content-Type": content_type})
    assert (reply.status, reply.json()["result"]["payload"]) == (200, "ü")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "garbage"]
)
async def test_a_body_without_a_json_type_is_415(http: Client, content_type: str):
    reply = await http.post("/tasks", data=b"{}", headers={"Content-Type": content_type})
    assert "application/json" in reply.problem(415)["detail"]


async def test_a_body_without_any_type_is_415(http: Client):
    reply = await http.post("/tasks", data=b"{}", skip_auto_headers=["Content-Type"])
    assert "application/json" in reply.problem(415)["detail"]


async def test_an_unknown_charset_is_not_a_500(http: Client):
    reply = await http.post(
        "/tasks", data=b"{}", headers={"Content-Type": "application/json; charset=klingon"}
    )
    assert reply.status in (202, 400, 415)
