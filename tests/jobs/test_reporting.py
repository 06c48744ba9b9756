from __future__ import annotations

import asyncio
import json
import math
import sys
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.jobs import reporting as reporting_module
from async_endpoint.jobs.reporting import Reporting
from tests.jobs.virtual import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Iterator


class Told:
    """Reports of one virtual loop, and when they were flushed."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.flushes: list[tuple[str, float]] = []
        self.began = self.loop.time()
        self.reporting: Reporting
        self.advance(0, begin=True)

    def advance(self, seconds: float, *, begin: bool = False) -> None:
        async def wait() -> None:
            if begin:
                self.reporting = Reporting(self._flush)
            await asyncio.sleep(seconds)

        self.loop.run_until_complete(wait())

    def _flush(self, job_id: str) -> None:
        self.flushes.append((job_id, round(self.loop.time() - self.began, 3)))

    def take(self, job_id: str = "a") -> list[tuple[str, dict[str, Any]]]:
        return [(report.name, json.loads(report.data)) for report in self.reporting.take(job_id)[0]]


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.loop.close()


@pytest.fixture
def restless_threads() -> Iterator[None]:
    """Threads interrupt each other wherever they can."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


def test_many_reports_are_flushed_once_per_interval(told: Told) -> None:
    for number in range(50):
        told.reporting.progress("a", number / 100, None)
        told.reporting.log("b", "info", str(number))
    told.advance(5)
    assert told.flushes == [("a", 0.2), ("b", 0.2)]
    assert told.take("a") == [("progress", {"fraction": 0.49, "message": None})]
    assert [data["message"] for _, data in told.take("b")] == [str(number) for number in range(50)]
    told.reporting.progress("a", 1, "done")
    told.advance(1)
    assert told.flushes[2:] == [("a", 5.2)]


def test_what_is_taken_does_not_come_again(told: Told) -> None:
    told.reporting.log("a", "warning", "careful")
    told.reporting.progress("a", 0.5, "half")
    reports, progress = told.reporting.take("a")
    assert [report.name for report in reports] == ["log", "progress"]
    assert progress == reports[1].data
    assert told.reporting.take("a") == told.reporting.take("unknown") == ([], None)


@pytest.mark.parametrize(
    ("fraction", "shown"),
    [
        (-1, 0),
        (0, 0),
        (0.25, 0.25),
        (1, 1),
        (7, 1),
        (math.inf, 1),
        (-math.inf, 0),
        (math.nan, None),
        (None, None),
    ],
)
def test_a_fraction_is_clamped(told: Told, fraction: float | None, shown: float | None) -> None:
    told.reporting.progress("a", fraction, None)
    assert told.take() == [("progress", {"fraction": shown, "message": None})]


def test_of_too_many_lines_the_later_ones_are_counted(told: Told) -> None:
    for number in range(250):
        told.reporting.log("a", "info", str(number))
    *lines, dropped = told.take()
    assert [data["message"] for _, data in lines] == [str(number) for number in range(200)]
    assert dropped == ("dropped", {"count": 50})


@pytest.mark.parametrize(("text", "shown"), [("x" * 3000, "x" * 2000), ("a\ud800b", "a?b"), ("a\nb", "a\nb")])
def test_whatever_a_handler_says_is_json_of_bounded_length(told: Told, text: str, shown: str) -> None:
    told.reporting.log("a", "info", text)
    told.reporting.progress("a", None, text)
    assert [data["message"] for _, data in told.take()] == [shown, shown]


async def test_threads_may_report_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch, restless_threads: None
) -> None:
    """Flushes come in between; every line is in one of them."""
    monkeypatch.setattr(reporting_module, "_FLUSH_SECONDS", 0)
    monkeypatch.setattr(reporting_module, "_LINES_PER_FLUSH", 10**6)
    taken: list[str] = []

    def flush(job_id: str) -> None:
        taken.extend(json.loads(report.data)["message"] for report in reporting.take(job_id)[0])

    def speak(number: int) -> None:
        for line in range(1000):
            reporting.log("a", "info", f"{number}-{line}")

    reporting = Reporting(flush)
    threads = [Thread(target=speak, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        await asyncio.sleep(0)
    await asyncio.sleep(0.05)
    assert sorted(taken) == sorted(f"{number}-{line}" for number in range(4) for line in range(1000))
