from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.jobs.jsontext import encode as json_text
from async_endpoint.jobs.model import Job, JobStatus, parse_options
from async_endpoint.jobs.records import decode, encode, snapshot_line
from async_endpoint.masking import masked

TIMES = st.integers(1, 4_000_000_000_000)
TEXTS = st.text(max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
RESULTS = JSON.filter(lambda value: value is not None).map(json_text)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "priority": st.integers(-100, 100),
        "startAt": st.just("2026-01-02T03:04:05Z"),
        "concurrencyKey": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5),
        "retry": st.just({"maxAttempts": 3, "factor": 1.5}),
        "webhooks": st.just([{"url": "https://a.example", "secret": "c2VjcmV0", "headers": {"Cookie": "x"}}]),
    },
)
TASKS = st.fixed_dictionaries(
    {"type": st.just("echo"), "payload": JSON},
    optional={"options": OPTIONS, "headers": st.just({"Authorization": "Bearer s3cret", "Accept": "*/*"})},
)


def json_or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes | None]:
    return st.none() | values.map(json_text)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    task = draw(TASKS)
    shown = masked(task)
    status = draw(st.sampled_from(JobStatus))
    ended = status not in (JobStatus.PENDING, JobStatus.RUNNING)
    failed = status in (JobStatus.FAILED, JobStatus.CANCELLED)
    return Job(
        id="0198d2f0-0000-7000-8000-000000000000",
        type="echo",
        task=json_text(task),
        created_at=draw(TIMES),
        options=parse_options(task),
        shown_task=None if shown is None else json_text(shown),
        status=status,
        attempt=draw(st.integers(1, 30)),
        started_at=draw(st.none() | TIMES),
        finished_at=draw(TIMES) if ended else None,
        result=draw(RESULTS) if status is JobStatus.COMPLETED else None,
        error=draw(TEXTS) if failed else None,
        error_code=draw(st.text(min_size=1, max_size=5)) if failed else None,
        progress=draw(json_or_none(st.fixed_dictionaries({"fraction": st.floats(0, 1), "message": TEXTS}))),
        next_attempt_at=None if ended else draw(st.none() | TIMES),
        replay_of=draw(st.none() | st.just("0198d2f0-0000-7000-8000-000000000001")),
        interruptions=draw(st.integers(0, 3)),
        stops=draw(st.integers(0, 3)),
        cancel_requested=draw(st.booleans()),
        row=draw(st.integers(1, 10**9)) if ended else None,
        idempotency=draw(st.none() | TEXTS.filter(bool)),
        notes=draw(st.none() | st.dictionaries(TEXTS, JSON, min_size=1, max_size=2)),
    )


@given(jobs())
def test_a_job_comes_back_as_it_was(job: Job) -> None:
    assert decode(encode(job)) == job


def test_a_result_of_null_is_shown_again() -> None:
    job = Job("job", "echo", b"{}", 1, status=JobStatus.COMPLETED, finished_at=2, result=b"null")
    assert decode(encode(job)).snapshot_json() == job.snapshot_json()


@given(jobs())
def test_lists_hand_out_what_clients_see(job: Job) -> None:
    stored = encode(job)
    assert snapshot_line(stored) == job.snapshot_json()
    assert b"s3cret" not in snapshot_line(stored)
    assert b"c2VjcmV0" not in snapshot_line(stored)


@given(st.dictionaries(TEXTS, JSON, max_size=3))
def test_line_breaks_in_values_stay_within_their_line(more: dict[str, Any]) -> None:
    task = {**more, "text": "a\nb\r\u2028c", "options": None}
    job = Job("job", "echo", json_text(task), 1, shown_task=json_text({"text": "***"}), error="x\ny")
    assert encode(job).count(b"\n") == 2
    again = decode(encode(job))
    assert (json.loads(again.task), again.shown_task, again.error) == (task, job.shown_task, "x\ny")
