from __future__ import annotations

from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from async_endpoint.errors import BadRequest
from async_endpoint.web.requests import (
    Preferences,
    idempotency_key,
    integer,
    milliseconds,
    parse_json,
    preferences,
    time_of,
)


def get(path: str = "/", **headers: str) -> Any:
    return make_mocked_request(
        "GET", path, {name.replace("_", "-"): value for name, value in headers.items()}
    )


@pytest.mark.parametrize("text", [b"{", b"NaN", b"[1,]", b'"\\ud800"', b"\xff", b"[" * 1000, b"1 2"])
def test_what_is_not_strict_json_is_a_bad_request(text: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_json(text)


@pytest.mark.parametrize(
    ("prefer", "understood"),
    [
        ("wait=5", Preferences(wait=5)),
        ("respond-async, wait=5", Preferences(respond_async=True, wait=5)),
        ('Wait="7"; x=1 , RESPOND-ASYNC', Preferences(respond_async=True, wait=7)),
        ("wait=1, wait=2", Preferences(wait=1)),
        ("wait=-1", Preferences()),
        ("wait=1e3, wait", Preferences()),
        ("", Preferences()),
    ],
)
def test_preferences(prefer: str, understood: Preferences) -> None:
    assert preferences(get(Prefer=prefer)) == understood


@pytest.mark.parametrize(("value", "ms"), [(5, 5), ("5", 5), ("1e3", 1000), ("-2.5", -2.5), (0, 0)])
def test_durations(value: object, ms: float) -> None:
    assert milliseconds(value, "timeoutMs") == ms


@pytest.mark.parametrize("value", [True, None, "", "5 s", "nan", "1e999", "0x5", [], "٣"])
def test_what_is_no_duration_is_a_bad_request(value: object) -> None:
    with pytest.raises(BadRequest, match="timeoutMs"):
        milliseconds(value, "timeoutMs")


@pytest.mark.parametrize("text", ["0", "11", "x", "1.0", "", "9" * 5000])
def test_a_number_out_of_bounds_is_a_bad_request(text: str) -> None:
    assert integer(get("/?limit=10"), "limit", 1, 10) == 10
    assert integer(get("/"), "limit", 1, 10) is None
    with pytest.raises(BadRequest, match="limit"):
        integer(get(f"/?limit={text}"), "limit", 1, 10)


def test_times() -> None:
    for text in ("1970-01-01T00:00:01Z", "1970-01-01T00:00:01", "1970-01-01T02:00:01%2B02:00"):
        assert time_of(get(f"/?at={text}"), "at") == 1000
    for text in ("yesterday", "5", ""):
        with pytest.raises(BadRequest, match="at must be"):
            time_of(get(f"/?at={text}"), "at")


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256])
def test_idempotency_keys_are_visible_ascii(key: str) -> None:
    assert idempotency_key(get(Idempotency_Key="x" * 255)) == "x" * 255
    with pytest.raises(BadRequest):
        idempotency_key(get(Idempotency_Key=key))
