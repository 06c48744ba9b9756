"""What the core counts and times; `web` writes it as Prometheus text."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """Observations counted by upper bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Reading(NamedTuple):
    """A value that is read when somebody asks."""

    name: str
    text: str
    value: Callable[[], float]


class Metrics:
    """Counters and histograms of jobs and commits; times in seconds.

    Attributes:
        jobs: How often jobs entered a status, by (status, task type).
        queue_time: From creation to the start of the first attempt.
        run_time: Of an attempt.
        wake_up: From the commit of an end until the answer to a waiter was written.
        commit_size: Changes of a commit.
        gauges: What other parts show of themselves; `counters` likewise, for what only grows.
    """

    def __init__(self) -> None:
        self.gauges: list[Reading] = []
        self.counters: list[Reading] = []
        self.jobs: Counter[tuple[str, str]] = Counter()
        self.queue_time = Histogram()
        self.run_time = Histogram()
        self.wake_up = Histogram()
        self.commit_size = Histogram(COUNTS)
