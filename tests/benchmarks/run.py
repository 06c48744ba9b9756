"""The benchmark: `python tests/benchmarks/run.py`, on Linux, with nothing else running.

Starts the service and a bare aiohttp app on this machine and loads both in turn from a third process, so that
most figures are ratios that mean the same on any machine. Every rate is durable and with rows.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

import capacity
import fetching
import throughput
from figures import Figure, heading, table_row
from load import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

BENCHMARKS: dict[str, Callable[[float], list[Figure]]] = {
    "start": capacity.start,
    "durable": throughput.durable,
    "submit": throughput.submit,
    "run-and-wait": throughput.run_and_wait,
    "wake-up": throughput.wake_up,
    "waiters": capacity.waiters,
    "queue": capacity.queue,
    "sustained": capacity.sustained,
    "fetch": fetching.fetch,
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the service against a bare aiohttp app.")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a slice [1.5]")
    parser.add_argument("--only", choices=BENCHMARKS, action="append", help="just this one; repeatable")
    parser.add_argument("--check", action="store_true", help="exit code 1 when a floor is missed")
    return parser.parse_args()


def run(names: Iterable[str], seconds: float) -> list[Figure]:
    """Run the benchmarks and print each figure as it comes."""
    print(heading(), flush=True)
    figures = []
    for name in names:
        for figure in BENCHMARKS[name](seconds):
            print(table_row(figure.cells()), flush=True)
            figures.append(figure)
    return figures


def main() -> int:
    """Exit code 0; 1 when `--check` finds a missed floor; 2 when nothing could be measured."""
    options = arguments()
    started = time.monotonic()
    try:
        figures = run(options.only or BENCHMARKS, options.seconds)
    except BenchmarkError as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 2
    missed = [figure.name.strip() for figure in figures if figure.missed]
    print(f"\n{time.monotonic() - started:.0f} s; floors missed: {', '.join(missed) or 'none'}")
    return 1 if missed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())
