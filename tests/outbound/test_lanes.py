from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.outbound.lanes import Lanes, Limits, Receiver

A, B = Receiver("http://a", "/"), Receiver("http://b", "/")
A2 = Receiver("http://a", "/2")


def taken(lanes: Lanes) -> list[str]:
    items = []
    while (next_one := lanes.take()) is not None:
        items.append(next_one[1])
    return items


def test_items_of_one_receiver_leave_in_order() -> None:
    lanes = Lanes()
    for item in "xyz":
        lanes.put(A, item)
    assert taken(lanes) == ["x", "y", "z"]


def test_receivers_and_origins_take_turns() -> None:
    lanes = Lanes()
    for item in ("a1", "a2", "a3"):
        lanes.put(A, item)
    for item in ("A1", "A2"):
        lanes.put(A2, item)
    lanes.put(B, "b1")
    assert taken(lanes) == ["a1", "b1", "A1", "a2", "A2", "a3"]


def test_one_that_hangs_leaves_the_others_their_places() -> None:
    lanes = Lanes(Limits(total=10, origin=5, receiver=3))
    for number in range(20):
        lanes.put(A, f"hangs{number}")
    assert len(taken(lanes)) == 3
    lanes.put(A2, "other path")
    lanes.put(B, "other origin")
    assert taken(lanes) == ["other path", "other origin"]


def test_receivers_of_one_origin_share_its_limit() -> None:
    lanes = Lanes(Limits(total=10, origin=4, receiver=3))
    for number in range(20):
        lanes.put(Receiver("http://a", f"/{number}"), str(number))
    lanes.put(B, "b")
    assert sorted(taken(lanes)) == ["0", "1", "2", "3", "b"]
    lanes.done(Receiver("http://a", "/2"))
    assert taken(lanes) == ["4"]


def test_the_total_is_limited() -> None:
    lanes = Lanes(Limits(total=2))
    for number in range(5):
        lanes.put(Receiver(f"http://{number}", "/"), str(number))
    assert taken(lanes) == ["0", "1"]
    lanes.done(Receiver("http://0", "/"))
    assert taken(lanes) == ["2"]


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 2)) | st.sampled_from(["take", "done"]), max_size=80
    )
)
def test_limits_hold_nothing_is_lost_and_nothing_stays(steps: list[tuple[int, int] | str]) -> None:
    limits = Limits(total=5, origin=3, receiver=2)
    lanes = Lanes(limits)
    put: list[str] = []
    got: list[str] = []
    under_way: list[Receiver] = []

    def take() -> bool:
        next_one = lanes.take()
        if next_one is None:
            return False
        under_way.append(next_one[0])
        got.append(next_one[1])
        assert len(under_way) == lanes.under_way <= limits.total
        assert max(Counter(receiver.origin for receiver in under_way).values()) <= limits.origin
        assert max(Counter(under_way).values()) <= limits.receiver
        return True

    for step in steps:
        if isinstance(step, tuple):
            put.append(str(len(put)))
            lanes.put(Receiver(f"http://{step[0]}", f"/{step[1]}"), put[-1])
        elif step == "take":
            take()
        elif under_way:
            lanes.done(under_way.pop())
    while take() or under_way:
        if under_way:
            lanes.done(under_way.pop(0))
    assert sorted(got) == sorted(put)
    assert lanes._origins == {}
    assert not lanes._ready
