from __future__ import annotations

import json

from async_endpoint.jobs.events import Event
from async_endpoint.jobs.model import Job
from async_endpoint.web.apify_api.logs import Lines

JOB = Job("id", "echo", b"{}", created_at=1_767_323_045_678)


def line(name: str, **data: object) -> str:
    return Lines(JOB).of(Event(1, name, json.dumps(data).encode()))


def test_a_line_has_its_time_and_its_level() -> None:
    text = line("log", level="warning", message="look out", at="2026-01-02T03:04:06.000Z")
    assert text == "2026-01-02T03:04:06.000Z WARNING look out\n"


def test_every_line_of_a_message_has_the_time() -> None:
    text = line("log", level="info", message="one\ntwo", at="2026-01-02T03:04:06.000Z")
    assert text == "2026-01-02T03:04:06.000Z INFO one\n2026-01-02T03:04:06.000Z two\n"


def test_an_event_without_a_time_has_that_of_the_one_before() -> None:
    lines = Lines(JOB)
    assert (
        lines.of(Event(1, "progress", b'{"fraction":0.5,"message":"half"}'))
        == "2026-01-02T03:04:05.678Z half\n"
    )
    lines.of(Event(2, "started", b'{"at":"2026-01-02T03:04:07.000Z"}'))
    assert lines.of(Event(3, "dropped", b'{"count":3}')).startswith("2026-01-02T03:04:07.000Z ")


def test_an_end_tells_its_error() -> None:
    text = line("failed", finishedAt="2026-01-02T03:04:06.000Z", error="broken")
    assert text == "2026-01-02T03:04:06.000Z ERROR Run failed: broken\n"


def test_progress_without_a_message_says_nothing() -> None:
    assert line("progress", fraction=0.5, message=None) == ""
