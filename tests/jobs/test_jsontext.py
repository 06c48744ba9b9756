from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.jobs.jsontext import check_depth, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def nested(levels: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * levels + b"0" + closing * levels


@given(JSON)
def test_json_comes_back(value: object) -> None:
    assert json.loads(encode(value)) == value


@given(value=JSON, odd=st.sampled_from([math.nan, math.inf, -math.inf, "\ud800", object()]))
def test_what_json_has_no_word_for_is_refused_wherever_it_stands(value: object, odd: object) -> None:
    for holder in (odd, [value, odd], {"a": [{"b": odd}, value]}):
        with pytest.raises(ValueError, match=r"."):
            encode(holder)


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "Infinity and NaN", '"NaN"', "[" * 500, "{" * 500])
def test_text_that_looks_like_it_is_text(text: str) -> None:
    assert json.loads(encode({text: [text]})) == {text: [text]}


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_150_levels_are_accepted_and_no_more(opening: bytes, closing: bytes) -> None:
    check_depth(nested(150, opening, closing))
    with pytest.raises(ValueError, match="150 levels"):
        check_depth(nested(151, opening, closing))


def test_many_values_side_by_side_are_not_deep() -> None:
    check_depth(b"[%b]" % b",".join([nested(149)] * 50))
    with pytest.raises(ValueError, match="150 levels"):
        check_depth(b"[%b]" % b",".join([b"[]"] * 50 + [nested(150)]))


def test_a_result_that_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"."):
        encode(endless)
    deep: object = 0
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises((ValueError, RecursionError)):
        encode(deep)


def test_a_result_may_be_as_deep_as_a_task() -> None:
    deep = json.loads(nested(150))
    assert json.loads(encode(deep)) == deep
    with pytest.raises(ValueError, match="150 levels"):
        encode([deep])
