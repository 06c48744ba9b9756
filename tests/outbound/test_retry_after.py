from __future__ import annotations

import pytest

from async_endpoint.outbound.retry_after import LONGEST_MS, parse_retry_after

NOW = 784_111_777_000  # 1994-11-06 08:49:37 UTC


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("0", 0),
        ("120", 120_000),
        (" 7 ", 7_000),
        ("999999", LONGEST_MS),
        ("9" * 5000, LONGEST_MS),
        ("Sun, 06 Nov 1994 08:49:40 GMT", 3_000),
        ("Sunday, 06-Nov-94 08:49:40 GMT", 3_000),
        ("Sun Nov  6 08:49:40 1994", 3_000),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0),
        ("Sun, 06 Nov 2094 08:49:00 GMT", LONGEST_MS),
    ],
)
def test_seconds_and_dates(value: str, wait: int) -> None:
    assert parse_retry_after(value, NOW) == wait


@pytest.mark.parametrize(
    "value", [None, "", "soon", "-1", "1.5", "٣", "Sun, 99 Nov 1994 08:49:40 GMT", "0x10"]
)
def test_what_cannot_be_understood_counts_as_absent(value: str | None) -> None:
    assert parse_retry_after(value, NOW) is None
