"""Metrics as text (Prometheus exposition format 0.0.4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..jobs.metrics import Histogram

Sample = tuple[dict[str, str], float]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(families: Iterable[Iterator[str]]) -> str:
    """The whole page."""
    return "".join(f"{line}\n" for family in families for line in family)


def gauge(name: str, text: str, *samples: Sample) -> Iterator[str]:
    """Values that go up and down."""
    return _family(name, "gauge", text, samples)


def counter(name: str, text: str, *samples: Sample) -> Iterator[str]:
    """Values that only grow; the name ends in `_total`."""
    return _family(name, "counter", text, samples)


def histogram(name: str, text: str, values: Histogram) -> Iterator[str]:
    """Observations by upper bound, cumulated."""
    yield from _head(name, "histogram", text)
    total = 0
    for bound, count in zip([*map(str, values.bounds), "+Inf"], values.counts, strict=True):
        total += count
        yield f'{name}_bucket{{le="{bound}"}} {total}'
    yield f"{name}_sum {values.total}"
    yield f"{name}_count {total}"


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield from _head(name, kind, text)
    for labels, value in samples:
        yield f"{name}{_labels(labels)} {value}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
