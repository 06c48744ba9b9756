from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from async_endpoint import logs
from async_endpoint.logs import LineLog

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "async_endpoint.tests"


@pytest.fixture
def log() -> Iterator[LineLog]:
    logger = logging.getLogger(NAME)
    logger.setLevel(logging.INFO)
    yield LineLog(NAME)
    logger.setLevel(logging.NOTSET)
    logger.disabled = False


@pytest.fixture
def india() -> Iterator[None]:
    """The local time is five and a half hours ahead."""
    with mock.patch.dict(os.environ, {"TZ": "IST-5:30"}):
        time.tzset()
        yield
    time.tzset()


def as_logging_writes(text: str, now: float) -> str:
    record = logging.LogRecord(NAME, logging.INFO, "", 0, text, (), None)
    record.created, record.msecs = now, int(now % 1 * 1000)
    return logging.Formatter(logs._FORMAT).format(record) + "\n"


@pytest.mark.parametrize("now", [1_790_000_000.0, 1_790_000_000.0625, 1_790_000_000.9999, 5.5])
@pytest.mark.parametrize("text", ["job=1 event=created", "100 %", "%s %d", "ä", ""])
async def test_a_line_looks_like_one_of_logging(
    log: LineLog, capsys: pytest.CaptureFixture[str], now: float, text: str, india: None
) -> None:
    with mock.patch.object(time, "time", return_value=now):
        log.write(text)
        await asyncio.sleep(0)
    assert capsys.readouterr().err == as_logging_writes(text, now)


async def test_lines_keep_their_order_and_are_written_at_the_end_of_the_turn(
    log: LineLog, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("one", "two"):
        log.write(text)
    assert capsys.readouterr().err == ""
    await asyncio.sleep(0)
    log.write("three")
    await asyncio.sleep(0)
    assert [line.rpartition(" ")[2] for line in capsys.readouterr().err.splitlines()] == [
        "one",
        "two",
        "three",
    ]


def test_lines_are_wanted_where_the_logger_wants_them(log: LineLog) -> None:
    assert log.enabled
    logging.getLogger(NAME).setLevel(logging.WARNING)
    assert not log.enabled


@pytest.mark.parametrize("error", [BrokenPipeError(), ValueError("I/O operation on closed file")])
async def test_when_nobody_reads_any_more_the_log_falls_silent(
    log: LineLog, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(sys, "stderr", mock.Mock(write=mock.Mock(side_effect=error)))
    log.write("lost")
    await asyncio.sleep(0)
    assert not log.enabled
