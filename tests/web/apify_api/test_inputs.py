from __future__ import annotations

from typing import Any

import pytest

from async_endpoint.web.apify_api.errors import ApiError
from async_endpoint.web.apify_api.inputs import merge_task, read_input, run_options


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded", ""])
@pytest.mark.parametrize("body", [b"", b"  ", b"null"])
def test_no_input(body: bytes, content_type: str) -> None:
    assert read_input(body, content_type) == {}


def test_json_input() -> None:
    assert read_input(b'{"a": 1}', "Application/JSON; charset=utf-8") == {"a": 1}


@pytest.mark.parametrize(
    ("body", "content_type", "status", "error_type"),
    [
        (b"{", "application/json", 400, "run-input-body-not-valid-json"),
        (b'{"a": NaN}', "application/json", 400, "run-input-body-not-valid-json"),
        (b"\xff", "application/json", 400, "run-input-body-not-valid-json"),
        (b"[1]", "application/json", 400, "input-json-not-object"),
        (b"a=1", "application/x-www-form-urlencoded", 415, "invalid-content-type-header"),
    ],
)
def test_bad_input(body: bytes, content_type: str, status: int, error_type: str) -> None:
    with pytest.raises(ApiError) as caught:
        read_input(body, content_type)
    assert (caught.value.status, caught.value.type) == (status, error_type)


@pytest.mark.parametrize(
    ("given", "query", "task"),
    [
        ({}, {}, {"type": "sleep", "ms": 1, "options": {"priority": 3}}),
        ({"ms": 2, "type": "sleep"}, {}, {"type": "sleep", "ms": 2, "options": {"priority": 3}}),
        ({}, {"timeout": "7"}, {"type": "sleep", "ms": 1, "options": {"priority": 3, "timeoutMs": 7000}}),
        ({"options": {}}, {"timeout": "0"}, {"type": "sleep", "ms": 1, "options": {}}),
        ({"options": {}}, {"timeout": "0.25"}, {"type": "sleep", "ms": 1, "options": {"timeoutMs": 250}}),
        (
            {"options": None},
            {"restartOnError": "1"},
            {"type": "sleep", "ms": 1, "options": {"retry": {"maxAttempts": 4}}},
        ),
        (
            {"options": {"retry": {"maxAttempts": 2}}},
            {"restartOnError": "true"},
            {"type": "sleep", "ms": 1, "options": {"retry": {"maxAttempts": 2}}},
        ),
    ],
)
def test_the_input_goes_over_the_preset(
    given: dict[str, Any], query: dict[str, str], task: dict[str, Any]
) -> None:
    base = {"type": "sleep", "ms": 1, "options": {"priority": 3}}
    assert merge_task(base, given, query) == task


def test_the_input_cannot_change_the_type() -> None:
    with pytest.raises(ApiError, match="type"):
        merge_task({"type": "sleep"}, {"type": "echo"}, {})


def test_run_options_are_read_back() -> None:
    query = {"build": "beta", "memory": "256", "maxItems": "5", "maxTotalChargeUsd": "1.5", "x": "y"}
    assert run_options(query) == {
        "build": "beta",
        "memoryMbytes": 256,
        "maxItems": 5,
        "maxTotalChargeUsd": 1.5,
    }
    assert run_options({}) == {}


@pytest.mark.parametrize(
    "query",
    [
        {"memory": "100"},
        {"memory": "65536"},
        {"memory": "300"},
        {"maxTotalChargeUsd": "nan"},
        {"maxItems": "-1"},
    ],
)
def test_bad_run_options(query: dict[str, str]) -> None:
    with pytest.raises(ApiError):
        run_options(query)
