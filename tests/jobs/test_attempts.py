from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from async_endpoint.errors import JobError, RetryableResult
from async_endpoint.jobs.attempts import Attempt, Outcome, StopReason
from async_endpoint.jobs.model import MAX_ERROR_CHARS, Job, JobStatus
from tests.jobs.virtual import Scripted, VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

CANCELLED, COMPLETED, FAILED = JobStatus.CANCELLED, JobStatus.COMPLETED, JobStatus.FAILED


class Unreadable(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


def attempt(
    work: Callable[[Attempt], Any], on_end: Callable[[Outcome], None], timeout_ms: int | None = None
) -> Attempt:
    return Attempt(
        Job("job", "echo", b"{}", 0),
        Scripted(work),
        None,  # type: ignore[arg-type]
        timeout_ms=timeout_ms,
        max_result_bytes=100,
        on_end=lambda _, outcome: on_end(outcome),
    )


def run(
    work: Callable[[Attempt], Any],
    stops: Iterable[tuple[float, StopReason]] = (),
    *,
    timeout_ms: int | None = None,
) -> tuple[Outcome, float]:
    """Run an attempt in virtual time, stop it after so many seconds; how it ended, and when."""
    ended: list[tuple[Outcome, float]] = []

    async def watch() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        one = attempt(
            work, lambda outcome: ended.append((outcome, round(loop.time() - began, 3))), timeout_ms
        )
        one.start()
        for after, reason in stops:
            loop.call_later(after, one.stop, reason)
        await asyncio.sleep(60)

    loop = VirtualLoop()
    try:
        loop.run_until_complete(watch())
    finally:
        loop.close()
    (only,) = ended
    return only


def raising(error: BaseException) -> Callable[[Attempt], Any]:
    async def work(_: Attempt) -> None:
        raise error

    return work


def returning(value: object, after: float = 0) -> Callable[[Attempt], Any]:
    async def work(_: Attempt) -> object:
        await asyncio.sleep(after)
        return value

    return work


async def stubborn(_: Attempt) -> str:
    """Ignore every cancellation for 20 seconds."""
    loop = asyncio.get_running_loop()
    until = loop.time() + 20
    while (left := until - loop.time()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue
    return "late"


def test_what_a_handler_returns_is_the_result() -> None:
    assert run(returning({"a": [1, None]}, after=3)) == (Outcome(COMPLETED, b'{"a":[1,null]}'), 3)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("x" * 98, None),
        ("x" * 99, "result-too-large"),
        (math.nan, "handler-error"),
        ("\ud800", "handler-error"),
        (object(), "handler-error"),
    ],
    ids=["fits", "too large", "NaN", "surrogate", "object"],
)
def test_a_result_must_be_json_of_bounded_size(value: object, code: str | None) -> None:
    for work in (returning(value), raising(RetryableResult(value))):
        outcome, _ = run(work)
        assert outcome.code == code
        assert (outcome.status, outcome.result is None) == (FAILED if code else COMPLETED, bool(code))


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ValueError("bad"), Outcome(FAILED, error="ValueError: bad", code="handler-error", retryable=True)),
        (JobError("bad", code="c"), Outcome(FAILED, error="bad", code="c", retryable=True)),
        (
            JobError("bad", retryable=False, retry_after_ms=5),
            Outcome(FAILED, error="bad", code="handler-error", retry_after_ms=5),
        ),
        (
            RetryableResult([1], retry_after_ms=7),
            Outcome(COMPLETED, b"[1]", retryable=True, retry_after_ms=7),
        ),
        (
            asyncio.CancelledError(),
            Outcome(FAILED, error="The handler cancelled itself.", code="handler-error"),
        ),
        (
            BaseExceptionGroup("two", [KeyboardInterrupt(), ValueError()]),
            Outcome(
                FAILED,
                error="BaseExceptionGroup: two (2 sub-exceptions)",
                code="handler-error",
                retryable=True,
            ),
        ),
        (GeneratorExit(), Outcome(FAILED, error="GeneratorExit: ", code="handler-error", retryable=True)),
        (
            SystemExit(3),
            Outcome(
                FAILED, error="The handler tried to end the process: SystemExit(3)", code="handler-error"
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_handler_raises_says_how_the_attempt_ended(error: BaseException, outcome: Outcome) -> None:
    assert run(raising(error)) == (outcome, 0)


def test_an_error_that_cannot_be_shown_is_one_all_the_same() -> None:
    assert run(raising(Unreadable()))[0].error == "Unreadable: (an error without a readable message)"
    assert run(raising(JobError("a\ud800", code="b\ud800")))[0][2:4] == ("a?", "b?")
    assert run(raising(JobError("a", code="")))[0].code == "handler-error"
    assert len(run(raising(ValueError("x" * 20_000)))[0].error or "") == MAX_ERROR_CHARS


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (StopReason.CANCELLED, Outcome(CANCELLED, error="The job was cancelled.", code="cancelled")),
        (
            StopReason.INTERRUPTED,
            Outcome(
                FAILED, error="The service stopped while the job ran.", code="interrupted", interrupted=True
            ),
        ),
    ],
)
def test_a_stopped_attempt_ends_when_its_handler_does(reason: StopReason, outcome: Outcome) -> None:
    assert run(returning(1, after=30), [(2, reason)]) == (outcome, 2)


def test_a_timeout_is_told_and_worth_another_attempt() -> None:
    error = "The attempt took longer than 1500 ms."
    timeout = Outcome(FAILED, error=error, code="timeout", retryable=True)
    assert run(returning(1, after=30), timeout_ms=1500) == (timeout, 1.5)
    assert run(stubborn, timeout_ms=1500) == (timeout, 6.5)
    assert run(returning(1, after=1), timeout_ms=1500)[0].status is COMPLETED


def test_a_timeout_does_not_come_on_top_of_a_stop() -> None:
    outcome, at = run(stubborn, [(1, StopReason.INTERRUPTED)], timeout_ms=2000)
    assert (outcome.code, at) == ("interrupted", 6)


def test_cleaning_up_may_take_five_seconds_and_raise_what_it_wants() -> None:
    async def work(_: Attempt) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            await asyncio.sleep(4.5)
            raise ValueError("while cleaning up")

    outcome, at = run(work, [(1, StopReason.CANCELLED)])
    assert (outcome.status, at) == (CANCELLED, 5.5)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.sampled_from(StopReason)), min_size=1, max_size=4))
def test_of_several_reasons_the_highest_counts_and_the_first_sets_the_time(
    stops: list[tuple[float, StopReason]],
) -> None:
    outcome, at = run(stubborn, stops)
    highest = max(reason for _, reason in stops)
    codes = {
        StopReason.INTERRUPTED: "interrupted",
        StopReason.TIMEOUT: "timeout",
        StopReason.CANCELLED: "cancelled",
    }
    assert (outcome.code, at) == (codes[highest], min(after for after, _ in stops) + 5)


async def test_an_attempt_stopped_before_it_starts_never_runs() -> None:
    ran: list[Attempt] = []
    ended: list[Outcome] = []

    async def work(one: Attempt) -> None:
        ran.append(one)

    one = attempt(work, ended.append, 1000)
    one.stop(StopReason.CANCELLED)
    one.start()
    await asyncio.sleep(0.01)
    assert ([outcome.code for outcome in ended], ran) == (["cancelled"], [])


async def test_a_stop_after_the_end_changes_nothing() -> None:
    ended: list[Outcome] = []
    one = attempt(returning("done"), ended.append)
    one.start()
    await asyncio.sleep(0.01)
    one.stop(StopReason.CANCELLED)
    await asyncio.sleep(0.01)
    assert [outcome.status for outcome in ended] == [COMPLETED]
