from __future__ import annotations

import math
import sys
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.jobs.attempts import Outcome
from async_endpoint.jobs.model import Job, JobStatus, parse_options
from async_endpoint.jobs.retries import gap_ms, longest_gap_ms, may_retry

FAILED = Outcome(JobStatus.FAILED, retryable=True)
DAYS_30 = 30 * 86_400_000

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "initialDelayMs": st.integers(0, 10**11),
        "factor": st.floats(1, 100),
        "maxDelayMs": st.integers(0, 10**11),
    },
)


def job(attempt: int = 1, *, interruptions: int = 0, stops: int = 0, **retry: Any) -> Job:
    options = parse_options({"options": {"retry": {"maxAttempts": 3, **retry}}})
    return Job("job", "echo", b"{}", 0, options, attempt=attempt, interruptions=interruptions, stops=stops)


@pytest.mark.parametrize(("attempt", "again"), [(1, True), (2, True), (3, False), (4, False)])
def test_a_job_is_tried_as_often_as_it_asked(attempt: int, again: bool) -> None:
    assert may_retry(job(attempt), FAILED) is again
    assert may_retry(job(attempt + 5, interruptions=3, stops=2), FAILED) is again
    assert not may_retry(job(attempt), FAILED._replace(retryable=False))


def test_gaps_grow_by_the_factor_up_to_their_bound() -> None:
    retry = job(initialDelayMs=100, factor=3, maxDelayMs=1000).options.retry
    assert [longest_gap_ms(retry, tries) for tries in (1, 2, 3, 4, 20)] == [100, 300, 900, 1000, 1000]


@given(retry=OPTIONS, tries=st.integers(1, 20))
def test_a_gap_stays_within_its_bounds(retry: dict[str, Any], tries: int) -> None:
    one = job(tries, **retry)
    longest = longest_gap_ms(one.options.retry, tries)
    assert longest <= one.options.retry.max_delay_ms
    assert longest >= min(one.options.retry.max_delay_ms, one.options.retry.initial_delay_ms)
    assert all(0 <= gap_ms(one, FAILED) <= longest for _ in range(5))


def test_gaps_are_spread_over_the_whole_range() -> None:
    gaps = [gap_ms(job(initialDelayMs=1000), FAILED) for _ in range(200)]
    assert min(gaps) < 250
    assert max(gaps) > 750


def test_interruptions_do_not_make_gaps_longer() -> None:
    one = job(8, interruptions=3, stops=4, initialDelayMs=10, factor=100, maxDelayMs=10**9)
    assert all(gap_ms(one, FAILED) <= 10 for _ in range(50))


@pytest.mark.parametrize(
    ("asked", "least"),
    [
        (None, 0),
        (5000, 5000),
        (5000.9, 5000),
        (-5, 0),
        (DAYS_30 + 1, DAYS_30),
        (10**400, DAYS_30),
        (-(10**400), 0),
        (sys.float_info.max, DAYS_30),
        (math.inf, DAYS_30),
        (-math.inf, 0),
        (math.nan, 0),
        ("5000", 0),
        (Decimal(5000), 0),
    ],
    ids=lambda value: str(value)[:12],
)
def test_a_handlers_wish_is_a_lower_bound_whatever_it_is(asked: Any, least: int) -> None:
    assert gap_ms(job(initialDelayMs=0), FAILED._replace(retry_after_ms=asked)) == least
    gap = gap_ms(job(initialDelayMs=100), FAILED._replace(retry_after_ms=asked))
    assert least <= gap <= max(least, 100)
