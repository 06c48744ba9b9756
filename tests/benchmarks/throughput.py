"""The service against the bare app: interleaved slices of the same load, one ratio per pair."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from functools import partial

from figures import Figure, Floor
from load import Load, Result, measure
from processes import Server, Service, running_service, running_yardstick

PAIRS = 5
WARMUP = 0.3
ECHO = json.dumps({"type": "echo", "payload": {"order": 4711, "customer": "Ada", "items": [1, 2, 3]}})
SLEEP_MS = 50
SLEEP = json.dumps({"type": "sleep", "ms": SLEEP_MS})


@dataclass(frozen=True)
class Route:
    """Where a load goes: the service's route and what it answers, and the bare app's counterpart."""

    service_path: str
    service_status: int
    bare_path: str
    body: str


SUBMIT = Route("/tasks", 202, "/echo", ECHO)
RUN_AND_WAIT = Route("/run-and-wait", 200, "/echo", ECHO)
SLEEP_AND_WAIT = Route("/run-and-wait", 200, "/sleep", SLEEP)


@dataclass(frozen=True)
class Pair:
    """A slice of the bare app, the slice of the service next to it, and the seconds of work this one left."""

    bare: Result
    service: Result
    drain: float


def submit(seconds: float) -> list[Figure]:
    """Jobs accepted at 64 connections while they run and get their rows."""
    pairs = compare(SUBMIT, 64, seconds)
    return [rate_figure("submit, 64 connections", pairs, Floor(0.5))]


def run_and_wait(seconds: float) -> list[Figure]:
    """Jobs submitted and answered in one request, at 1 and at 64 connections."""
    return [
        rate_figure(f"run-and-wait, {count} connection{'s' * (count > 1)}", pairs, Floor(0.35))
        for count in (1, 64)
        for pairs in [compare(RUN_AND_WAIT, count, seconds)]
    ]


def durable(seconds: float) -> list[Figure]:
    """What is left of the bare app's rate when each request is a row on disk, and nothing else is done."""
    figures = []
    for count in (1, 64):
        with running_yardstick() as bare, running_yardstick("durable") as kept:
            load = partial(Load, path="/echo", body=ECHO, expect=200, connections=count, warmup=WARMUP)
            pairs = [
                [measure(load(port=server.port, seconds=seconds)).rate for server in (bare, kept)]
                for _ in range(PAIRS + 1)
            ][1:]
        ratios = [ours / theirs for theirs, ours in pairs]
        figures.append(Figure(f"a row each, {count} connection{'s' * (count > 1)}", ratios, "of bare"))
    return figures


def wake_up(seconds: float) -> list[Figure]:
    """What an answer takes beyond the 50 ms its job sleeps, against the bare app's own overhead."""
    pairs = compare(SLEEP_AND_WAIT, 1, seconds)
    overheads = [(pair.service.p50 - SLEEP_MS, pair.bare.p50 - SLEEP_MS) for pair in pairs]
    ours, theirs = (statistics.median(side) for side in zip(*overheads, strict=True))
    detail = f"{ours:.2f} ms over {SLEEP_MS} ms, bare {theirs:.2f} ms"
    ratios = [service / bare for service, bare in overheads]
    return [Figure("wake-up after a sleep, overhead", ratios, "x bare", detail, Floor(3, at_most=True))]


def compare(route: Route, connections: int, seconds: float) -> list[Pair]:
    """Load both servers in turn; the first pair only warms them up."""
    with running_yardstick() as bare, running_service() as service:
        pairs = [slice_pair(bare, service, route, connections, seconds) for _ in range(PAIRS + 1)]
    return pairs[1:]


def slice_pair(bare: Server, service: Service, route: Route, connections: int, seconds: float) -> Pair:
    """One slice each; what the service still has to do afterwards is done before the next slice starts."""

    slice_of = partial(Load, body=route.body, connections=connections, seconds=seconds, warmup=WARMUP)
    base = measure(slice_of(port=bare.port, path=route.bare_path, expect=200))
    ours = measure(slice_of(port=service.port, path=route.service_path, expect=route.service_status))
    service.jobs += ours.answered
    return Pair(base, ours, service.await_drained())


def rate_figure(name: str, pairs: list[Pair], floor: Floor) -> Figure:
    """Requests per second of the service as a share of the bare app's."""
    ratios = [pair.service.rate / pair.bare.rate for pair in pairs]
    ours, bare = describe([pair.service for pair in pairs]), describe([pair.bare for pair in pairs])
    drain = statistics.median(pair.drain for pair in pairs)
    client = max(pair.bare.client_cpu for pair in pairs)
    detail = f"{ours}, drain {drain:.2f} s; bare {bare}, client CPU {client:.0%}"
    return Figure(name, ratios, "of bare", detail, floor)


def describe(results: list[Result]) -> str:
    """The medians of one side in a few words."""
    rate, p50, p99 = (
        statistics.median(getattr(result, name) for result in results) for name in ("rate", "p50", "p99")
    )
    return f"{rate:,.0f}/s p50 {p50:.2f} ms p99 {p99:.2f} ms"
