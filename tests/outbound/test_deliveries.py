from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.outbound.deliveries import (
    JITTER,
    Attempt,
    Delivery,
    DeliveryStatus,
    after_attempt,
    asked_again,
    gap_ms,
)
from async_endpoint.outbound.lanes import Receiver

SCHEDULE = (5_000, 30_000, 120_000, 600_000, 3_600_000, 10_800_000, 21_600_000, 43_200_000)
NOW = 1_767_323_045_678


def owed(**more: Any) -> Delivery:
    fields: dict[str, Any] = {"id": "d1", "job_id": "j1", "event": "job.completed", "at": NOW, "due": NOW}
    return Delivery(**{**fields, "url": "https://example.com/hook?token=abc", **more})


def tried(delivery: Delivery, status: int | None, **more: Any) -> Delivery:
    attempt = Attempt(time=NOW, status=status, ms=3, error=None if status else "no answer")
    return after_attempt(
        delivery, attempt, **{"now": NOW, "delays_ms": SCHEDULE, "jitter": lambda: 0.0, **more}
    )


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_success_ends_a_delivery(status: int) -> None:
    done = tried(owed(), status)
    assert (done.status, done.due) == (DeliveryStatus.DELIVERED, None)
    assert [attempt.status for attempt in done.attempts] == [status]


@pytest.mark.parametrize("status", [100, 199, 301, 302, 307, 308, 400, 404, 429, 500, 503, None])
def test_anything_else_is_tried_again(status: int | None) -> None:
    assert tried(owed(), status).due == NOW + SCHEDULE[0]


def test_gone_and_a_refused_receiver_end_it() -> None:
    for ended in (tried(owed(), 410), tried(owed(), None, final=True)):
        assert (ended.status, ended.due) == (DeliveryStatus.FAILED, None)


def test_the_schedule_is_followed_to_its_end_and_then_given_up() -> None:
    delivery, gaps = owed(), []
    while (delivery := tried(delivery, 500)).due is not None:
        gaps.append(delivery.due - NOW)
    assert tuple(gaps) == SCHEDULE
    assert delivery.status is DeliveryStatus.FAILED
    assert len(delivery.attempts) == len(SCHEDULE) + 1


def test_a_delivery_may_have_a_schedule_of_its_own() -> None:
    assert tried(owed(delays_ms=(7,)), 500).due == NOW + 7
    assert tried(owed(delays_ms=()), 500).status is DeliveryStatus.FAILED


def test_the_gap_that_a_receiver_asks_for_replaces_the_schedules() -> None:
    assert tried(owed(), 503, retry_after_ms=1_000).due == NOW + 1_000
    assert tried(owed(), 503, retry_after_ms=90_000).due == NOW + 90_000
    assert tried(owed(), 503, retry_after_ms=0).due == NOW + SCHEDULE[0]


def test_asking_again_begins_the_schedule_anew_and_keeps_the_attempts() -> None:
    again = asked_again(tried(owed(), 410), NOW + 9)
    assert (again.status, again.due, len(again.attempts)) == (DeliveryStatus.PENDING, NOW + 9, 1)
    assert tried(again, 500).due == NOW + SCHEDULE[0]


@given(random=st.floats(0, 1), tries=st.integers(1, len(SCHEDULE) - 1))
def test_gaps_grow_whatever_the_jitter(random: float, tries: int) -> None:
    gap = gap_ms(SCHEDULE, tries, jitter=lambda: random)
    assert SCHEDULE[tries - 1] <= gap <= SCHEDULE[tries - 1] * (1 + JITTER)
    assert gap < gap_ms(SCHEDULE, tries + 1, jitter=lambda: 0.0)


def test_what_is_stored_comes_back() -> None:
    delivery = tried(owed(secret="whsec_YWJj", headers={"X-A": "b"}, extra={"a": [1]}, data="{}"), 500)
    assert Delivery.model_validate_json(delivery.to_json()) == delivery


def test_clients_see_every_attempt_and_no_secret() -> None:
    delivery = tried(owed(secret="whsec_YWJj", headers={"Authorization": "Basic abc"}), 500)
    shown = json.loads(json.dumps(tried(delivery, None).shown()))
    assert shown == {
        "deliveryId": "d1",
        "event": "job.completed",
        "url": "https://example.com/hook?***",
        "status": "pending",
        "createdAt": "2026-01-02T03:04:05.678Z",
        "nextAttemptAt": "2026-01-02T03:04:35.678Z",
        "attempts": [
            {"time": "2026-01-02T03:04:05.678Z", "status": 500, "ms": 3, "error": None},
            {"time": "2026-01-02T03:04:05.678Z", "status": None, "ms": 3, "error": "no answer"},
        ],
    }


def test_a_receiver_is_an_origin_and_a_path() -> None:
    assert owed().receiver == Receiver("https://example.com", "/hook")
    assert owed(url="http://[::1]:8080").receiver == Receiver("http://[::1]:8080", "/")


@pytest.mark.parametrize("url", ["nope", "//host/path", "http://[::", "", "mailto:a@b"])
def test_what_is_no_url_has_a_lane_too(url: str) -> None:
    delivery = owed(url=url)
    assert delivery.receiver == Receiver("", url)
    assert delivery.shown()["url"] == "not a URL"


def test_a_url_is_shown_without_its_secrets() -> None:
    shown = owed(url="https://user:s3cr3t@example.com/a%20b?key=s3cr3t#s3cr3t").shown()
    assert shown["url"] == "https://example.com/a%20b?***"
