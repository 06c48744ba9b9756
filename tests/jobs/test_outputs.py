from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.errors import JobError
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.model import Job
from async_endpoint.jobs.outputs import TOTAL_FACTOR, Outputs, decode_record, item_index

if TYPE_CHECKING:
    from collections.abc import Iterable

JOB = Job("job", "echo", b"{}", created_at=0, attempt=2)


def outputs(max_bytes: int = 1000) -> tuple[Outputs, list[Change]]:
    written: list[Change] = []

    def put(job_id: str, changes: Iterable[Change]) -> None:
        assert job_id == "job"
        written.extend(changes)

    return Outputs(JOB, put, asyncio.get_running_loop(), max_bytes), written


async def test_items_are_numbered_within_their_attempt() -> None:
    out, written = outputs()
    out.push({"a": "ä"})
    out.push([1, {"b": None}])
    out.push([])
    assert written == [
        Change("items", "job/000002/000000000", '{"a":"ä"}'.encode()),
        Change("items", "job/000002/000000001", b"1"),
        Change("items", "job/000002/000000002", b'{"b":null}'),
    ]
    assert item_index(written[2].key) == 2


@pytest.mark.parametrize(
    ("value", "given", "body", "content_type"),
    [
        (b"\x00", None, b"\x00", "application/octet-stream"),
        ("é\n", None, "é\n".encode(), "text/plain; charset=utf-8"),
        ({"x": 1}, None, b'{"x":1}', "application/json; charset=utf-8"),
        (None, None, b"null", "application/json; charset=utf-8"),
        ("<p>\n", "text/html", b"<p>\n", "text/html"),
    ],
)
async def test_a_record_comes_back_as_it_was_set(
    value: Any, given: str | None, body: bytes, content_type: str
) -> None:
    out, written = outputs()
    out.set("shot.png", value, given)
    [change] = written
    assert isinstance(change.value, bytes)
    assert (change.table, change.key) == ("records", "job/000002/shot.png")
    assert decode_record(change.key, change.value) == ("shot.png", content_type, body)


@pytest.mark.parametrize("key", ["", "a/b", "INPUT", "ä", "x" * 257, "a b"])
async def test_impossible_keys_fail_the_job_for_good(key: str) -> None:
    out, written = outputs()
    with pytest.raises(JobError) as caught:
        out.set(key, 1, None)
    assert not caught.value.retryable
    assert written == []


@pytest.mark.parametrize("content_type", ["", "text/html\r\nX-Evil: 1", "text/ü", "a" * 256])
async def test_a_content_type_must_fit_a_header(content_type: str) -> None:
    out, written = outputs()
    with pytest.raises(JobError):
        out.set("key", "value", content_type)
    assert written == []


@pytest.mark.parametrize("value", [float("nan"), object(), {1, 2}, "\ud800", {"a": "\udfff"}])
async def test_what_is_not_json_is_refused(value: Any) -> None:
    out, written = outputs()
    with pytest.raises(JobError):
        out.push(value)
    with pytest.raises(JobError):
        out.set("key", value, None)
    assert written == []


async def test_one_item_and_everything_together_are_bounded() -> None:
    out, written = outputs(max_bytes=1000)
    with pytest.raises(JobError) as caught:
        out.push("x" * 1000)
    assert (caught.value.code, caught.value.retryable) == ("result-too-large", False)
    for _ in range(TOTAL_FACTOR):
        out.push("x" * 950)
    with pytest.raises(JobError):
        out.push("x" * 950)
    with pytest.raises(JobError):
        out.set("large", b"x" * 1000, None)
    assert len(written) == TOTAL_FACTOR


async def test_threads_may_store_too() -> None:
    out, written = outputs(max_bytes=10_000)

    def work(number: int) -> None:
        for step in range(20):
            out.push({"thread": number, "step": step})

    await asyncio.gather(*(asyncio.to_thread(work, number) for number in range(5)))
    await asyncio.sleep(0)
    assert [item_index(change.key) for change in written] == list(range(100))
