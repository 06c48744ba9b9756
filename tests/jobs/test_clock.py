from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.jobs import clock
from async_endpoint.jobs.clock import JobIds, from_datetime, iso

if TYPE_CHECKING:
    import pytest

LAST_MS = from_datetime(datetime(9999, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))


def wall(monkeypatch: pytest.MonkeyPatch, ms: int) -> None:
    monkeypatch.setattr(clock, "time", SimpleNamespace(time_ns=lambda: ms * 1_000_000))


def milliseconds_of(job_id: str) -> int:
    return uuid.UUID(job_id).int >> 80


@given(st.integers(0, LAST_MS))
def test_a_time_in_iso_form_comes_back(at: int) -> None:
    text = iso(at)
    assert len(text) == len("2026-01-02T03:04:05.678Z")
    assert from_datetime(datetime.fromisoformat(text)) == at


def test_a_time_with_a_zone_is_cut_to_milliseconds() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    assert from_datetime(datetime(1970, 1, 1, 5, 30, 1, 1_999, tzinfo=india)) == 1001


def test_an_id_is_a_uuid_of_version_7_that_tells_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    wall(monkeypatch, 1_790_000_000_123)
    new = JobIds()
    for _ in range(50):
        made = uuid.UUID(new())
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert milliseconds_of(str(made)) == 1_790_000_000_123


def test_ids_increase_in_one_millisecond_and_with_a_clock_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the 4,096 that the counter of a millisecond holds: the next millisecond is borrowed."""
    wall(monkeypatch, 5000)
    new = JobIds()
    ids = [new() for _ in range(5000)]
    wall(monkeypatch, 4000)
    ids += [new(), new()]
    wall(monkeypatch, 9000)
    ids.append(new())
    assert ids == sorted(set(ids))
    assert [milliseconds_of(ids[place]) for place in (0, 4095, 4096, -2, -1)] == [
        5000,
        5000,
        5001,
        5001,
        9000,
    ]


def test_two_makers_of_ids_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    wall(monkeypatch, 5000)
    assert JobIds()() != JobIds()()


@given(known=st.lists(st.integers(2**47, 2**48 - 2), min_size=1, max_size=5), counter=st.integers(0, 4095))
def test_ids_go_on_after_every_known_one(known: list[int], counter: int) -> None:
    new, ids = JobIds(), []
    for ms in known:
        digits = f"{ms:012x}"
        ids.append(f"{digits[:8]}-{digits[8:]}-7{counter:03x}-ffff-ffffffffffff")
        new.resume_after(ids[-1])
    made = new()
    assert made > max(ids)
    assert uuid.UUID(made).version == 7
