"""`/metrics` in the Prometheus text format, read by the official parser and checked beyond it."""

from __future__ import annotations

import asyncio
import math
import re
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from tests.acceptance.service import Client


def strictly_parsed(text: str) -> dict[str, Metric]:
    """Families by name, after the checks that promtool makes."""
    families = list(text_string_to_metric_families(text))
    names = [family.name for family in families]
    assert len(names) == len(set(names)), "a family is split"
    helped = re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE)
    typed = re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE)
    assert helped == typed
    assert len(helped) == len(families)
    assert text.endswith("\n")
    for family in families:
        assert re.fullmatch(r"[a-z_][a-z0-9_]*", family.name)
        assert family.type in ("counter", "gauge", "histogram"), family
        keys = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in family.samples]
        assert len(keys) == len(set(keys)), "a sample is there twice"
        if family.type == "histogram":
            _check_histogram(family)
        if family.type == "counter":
            assert all(s.name.endswith("_total") and s.value >= 0 for s in family.samples), family
    return {family.name: family for family in families}


def _check_histogram(family: Metric) -> None:
    buckets: dict[tuple[Any, ...], list[tuple[float, float]]] = defaultdict(list)
    counts: dict[tuple[Any, ...], float] = {}
    for sample in family.samples:
        labels = tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le"))
        if sample.name.endswith("_bucket"):
            buckets[labels].append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[labels] = sample.value
    for labels, series in buckets.items():
        assert [bound for bound, _ in series] == sorted({bound for bound, _ in series})
        assert [count for _, count in series] == sorted(count for _, count in series)
        assert series[-1] == (math.inf, counts[labels])


async def scrape(http: Client) -> dict[str, Metric]:
    reply = await http.get("/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return strictly_parsed(reply.body.decode())


async def test_strict_parsing(http: Client):
    await http.run({"type": "raise"})
    assert await scrape(http)


@pytest.fixture
async def quiet(make):
    service = await make({"maxConcurrentTasks": 2}).start()
    async with service.client() as client:
        yield client


async def test_what_is_counted(quiet: Client):
    await scrape(quiet)
    await asyncio.gather(*(quiet.run({}) for _ in range(5)))
    await asyncio.gather(*(quiet.run({"type": "sleep", "ms": 5}) for _ in range(3)))
    await quiet.run({"type": "raise"})
    for _ in range(6):
        await quiet.submit({"type": "sleep", "ms": 60000})
    await asyncio.sleep(1.2)
    families = await scrape(quiet)
    by_labels = {
        (s.labels.get("status"), s.labels.get("type")): s.value for f in families.values() for s in f.samples
    }
    assert by_labels["completed", "echo"] == 5
    assert by_labels["completed", "sleep"] == 3
    assert by_labels["failed", "raise"] == 1
    values = {s.name: s.value for f in families.values() for s in f.samples if not s.labels}
    assert 4 in [value for name, value in values.items() if "queue" in name or "pending" in name]
    assert 2 in [value for name, value in values.items() if "slot" in name]
    assert any(1 <= value < 60 for name, value in values.items() if "oldest" in name)
    assert any(value >= 9 for name, value in values.items() if name.endswith("_count")), values


async def test_histograms_of_a_jobs_life(quiet: Client):
    await quiet.run({"type": "sleep", "ms": 300})
    families = await scrape(quiet)
    histograms = {name: family for name, family in families.items() if family.type == "histogram"}
    for word in ("queue", "run", "wake", "commit"):
        assert any(word in name for name in families), (word, list(families))
    for word in ("queue", "run", "wake"):
        assert any(word in name for name in histograms), (word, list(histograms))
    sums = [
        s.value for f in histograms.values() if "run" in f.name for s in f.samples if s.name.endswith("_sum")
    ]
    assert any(0.29 < value < 10 for value in sums), "run time is in seconds"
    wakes = [
        s.value
        for f in histograms.values()
        if "wake" in f.name
        for s in f.samples
        if s.name.endswith("_count")
    ]
    assert sum(wakes) >= 1


async def test_odd_names_of_task_types_are_escaped(http: Client):
    await http.post("/tasks", {"type": 'no"such\\type\n'})
    assert await scrape(http)
