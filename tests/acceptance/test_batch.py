"""Many tasks in one request, all or nothing; and a job done over again."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.acceptance.service import ROW_FIELDS, Client

NDJSON = {"Content-Type": "application/x-ndjson"}


async def newest(http: Client) -> list[str]:
    return [item["jobId"] for item in (await http.get("/tasks?limit=3")).json()["items"]]


async def test_an_array_in_order(http: Client):
    reply = await http.post("/tasks/batch", [{"payload": n} for n in range(1000)])
    assert reply.status == 202
    jobs = reply.json()["jobs"]
    assert [job["jobId"] for job in jobs] == sorted(job["jobId"] for job in jobs)
    assert set(jobs[0]) >= {"jobId", "status", "getUrl", "waitUrl", "eventsUrl", "cancelUrl"}
    for number in (0, 1, 500, 999):
        assert (await http.finished(jobs[number]["jobId"]))["result"]["payload"] == number


@pytest.mark.parametrize("end", ["", "\n", "\n\n", "\r\n"])
async def test_lines(http: Client, end: str):
    body = "\n".join(json.dumps({"payload": f"zeile ü {n}"}, ensure_ascii=False) for n in range(10)) + end
    reply = await http.post("/tasks/batch", data=body.encode(), headers=NDJSON)
    assert reply.status == 202
    jobs = reply.json()["jobs"]
    done = await asyncio.gather(*(http.finished(job["jobId"]) for job in jobs))
    assert [snapshot["result"]["payload"] for snapshot in done] == [f"zeile ü {n}" for n in range(10)]


async def test_all_or_nothing_and_each_bad_index_is_named(http: Client):
    before = await newest(http)
    tasks = [{}, {"type": "nope"}, {}, {"type": "sleep", "ms": -1}, 5, {"options": {"priority": 999}}]
    problem = (await http.post("/tasks/batch", tasks)).problem(400)
    paths = [error["path"] for error in problem["errors"]]
    for index in (1, 3, 4, 5):
        assert any(str(index) in path for path in paths), (index, paths)
    for index in (0, 2):
        assert not any(str(index) in path for path in paths), (index, paths)
    assert await newest(http) == before


async def test_a_bad_line_is_named(http: Client):
    before = await newest(http)
    reply = await http.post("/tasks/batch", data=b'{}\n{"payload": }\n{}\n', headers=NDJSON)
    problem = reply.problem(400)
    assert "1" in str(problem["errors"])
    assert await newest(http) == before


@pytest.mark.parametrize("body", ["{}", "5", "null", '"x"', "[", "[1]", "[[]]", "[null]"])
async def test_what_is_no_list_of_tasks(http: Client, body: str):
    reply = await http.post("/tasks/batch", data=body, headers={"Content-Type": "application/json"})
    reply.problem(400)


async def test_more_than_a_thousand(http: Client):
    before = await newest(http)
    (await http.post("/tasks/batch", [{}] * 1001)).problem(400)
    (await http.post("/tasks/batch", data=b"{}\n" * 1001, headers=NDJSON)).problem(400)
    assert await newest(http) == before


async def test_a_batch_needs_its_type(http: Client):
    (await http.post("/tasks/batch", data=b"[{}]", headers={"Content-Type": "text/plain"})).problem(415)


# -- replay ---


@pytest.mark.parametrize("task", [{"payload": {"again": [1]}}, {"type": "raise", "message": "same"}])
async def test_replay(http: Client, task):
    first = await http.run(task)
    reply = await http.post(f"/tasks/{first['jobId']}/replay")
    assert reply.status == 202
    receipt = reply.json()
    assert receipt["jobId"] != first["jobId"]
    assert set(receipt) >= {"jobId", "status", "getUrl", "waitUrl", "eventsUrl", "cancelUrl"}
    second = await http.finished(receipt["jobId"])
    assert second["replayOf"] == first["jobId"]
    assert second["task"] == first["task"]
    assert (second["status"], second["result"], second["attempt"]) == (first["status"], first["result"], 1)
    assert await http.snapshot(first["jobId"]) == first


async def test_a_replay_is_a_row_without_further_fields(make):
    service = await make().start()
    async with service.client() as http:
        first = await http.run({})
        await http.finished((await http.post(f"/tasks/{first['jobId']}/replay")).json()["jobId"])
    assert [set(row) for row in await service.rows_when(2)] == [ROW_FIELDS, ROW_FIELDS]


async def test_every_bad_line_is_named_whatever_is_wrong_with_it(http: Client):
    lines = b'\n{bad\n{"type":"x"}\n\n{}\n{bad2\n{"type":"sleep"}\n'
    problem = (await http.post("/tasks/batch", data=lines, headers=NDJSON)).problem(400)
    assert [error["path"].partition(".")[0] for error in problem["errors"]] == ["[0]", "[1]", "[3]", "[4]"]
    assert problem["errors"][2]["message"].startswith("Line 6 ")


async def test_a_task_that_the_settings_do_not_allow_is_named(http: Client):
    problem = (await http.post("/tasks/batch", [{}, {"type": "fetch", "url": "http://x.com"}])).problem(403)
    assert problem["code"] == "fetch-disabled"
    assert problem["detail"].startswith("[1]: ")
