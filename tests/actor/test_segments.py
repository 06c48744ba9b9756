from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.actor import segments
from async_endpoint.actor.segments import (
    ReplicaError,
    Segment,
    SegmentId,
    frames,
    header,
    joined,
    merged,
    read_segment,
)


def body(segment: SegmentId, first: int, *groups: dict[tuple[str, str], bytes | None]) -> bytes:
    record, number = header(segment, first), first
    for group in groups:
        packed = frames(group, number)
        record += b"".join(packed)
        number += len(packed)
    return record


def read(epoch: int, serial: int, first: int, *groups: dict[tuple[str, str], bytes | None]) -> Segment:
    segment = SegmentId(epoch, serial)
    return read_segment(segment, body(segment, first, *groups))


def group(text: str) -> dict[tuple[str, str], bytes | None]:
    return {("jobs", text): text.encode()}


@given(st.dictionaries(st.tuples(st.text(max_size=9), st.text()), st.none() | st.binary()))
def test_changes_come_back_as_they_were_written(changes: dict[tuple[str, str], bytes | None]) -> None:
    segment = SegmentId(1_700_000_000_000, 3)
    assert merged(joined([read_segment(segment, body(segment, 1, changes))], 0)) == changes


def test_a_group_larger_than_a_frame_is_split_and_comes_back_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_FRAME_BYTES", 1000)
    changes = {("jobs", "big"): os.urandom(5500)}
    assert len(frames(changes, 1)) == 6
    assert merged(joined([read(1, 0, 1, changes)], 0)) == changes


def test_a_group_whose_end_is_missing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "MAX_FRAME_BYTES", 1000)
    whole, torn = group("whole"), {("jobs", "torn"): os.urandom(2500)}
    segment = SegmentId(1, 0)
    record = body(segment, 1, whole) + b"".join(frames(torn, 2)[:-1])
    assert merged(joined([read_segment(segment, record)], 0)) == whole


def test_later_values_win_over_earlier_ones_and_removals_are_kept() -> None:
    log = joined([read(1, 0, 1, group("a"), {("jobs", "a"): None}), read(1, 1, 3, group("b"))], 0)
    assert merged(log) == {("jobs", "a"): None, ("jobs", "b"): b"b"}


def test_a_segment_replaces_what_earlier_ones_hold_under_its_numbers() -> None:
    unconfirmed = read(1, 0, 1, group("a"), group("late"), group("later"))
    assert merged(joined([unconfirmed, read(2, 0, 2, group("b"))], 0)) == group("a") | group("b")


def test_frames_up_to_the_base_are_not_replayed() -> None:
    log = joined([read(1, 0, 1, group("a"), group("b")), read(1, 1, 3, group("c"))], 2)
    assert [frame.number for frame in log] == [3]


def test_an_old_segment_that_came_back_does_not_count_as_a_gap() -> None:
    log = joined([read(1, 0, 5, group("old")), read(2, 0, 101, group("new"))], 100)
    assert merged(log) == group("new")


@pytest.mark.parametrize("base", [0, 1, 2])
def test_a_missing_number_is_an_error(base: int) -> None:
    with pytest.raises(ReplicaError, match=f"changes {base + 1} to 3 are missing"):
        joined([read(1, 1, 4, group("d"))], base)


@pytest.mark.parametrize("damage", ["cut", "flip", "head", "format", "other"])
def test_a_damaged_record_is_an_error(damage: str) -> None:
    segment = SegmentId(1, 0)
    record = body(segment, 1, group("a"), group("b"))
    damaged = {
        "cut": record[:-1],
        "flip": record[:-3] + bytes([record[-3] ^ 1]) + record[-2:],
        "head": record[5:],
        "format": record.replace(b'"format":1', b'"format":2'),
        "other": body(SegmentId(1, 1), 1, group("a")),
    }[damage]
    with pytest.raises(ReplicaError):
        read_segment(segment, damaged)


def test_keys_sort_as_their_segments_do() -> None:
    ids = [SegmentId(e, s) for e in (1, 20, 1_700_000_000_000) for s in (0, 9, 10, 12345)]
    assert [SegmentId.parse(key) for key in sorted(each.key for each in ids)] == ids
    assert SegmentId.parse("INPUT") is None
    assert SegmentId.parse(segments.PREFIX + "snapshot-1-2") is None
