from __future__ import annotations

import math
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from async_endpoint.jobs.metrics import COUNTS, Histogram
from async_endpoint.web.prometheus import counter, gauge, histogram, render

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NUMBERS = st.integers(-(2**50), 2**50) | st.floats(allow_nan=False)


def parsed(text: str) -> dict[str, Any]:
    assert text.endswith("\n")
    return {family.name: family for family in text_string_to_metric_families(text)}


@given(st.dictionaries(st.tuples(TEXTS, TEXTS), NUMBERS, max_size=4))
def test_whatever_the_labels_are_the_parser_reads_them(values: dict[tuple[str, str], float]) -> None:
    samples: list[Any] = [({"status": one, "type": two}, value) for (one, two), value in values.items()]
    family = parsed(render([counter("jobs_total", "How many.", *samples)]))["jobs"]
    assert (family.type, family.documentation) == ("counter", "How many.")
    assert [(sample.labels, sample.value) for sample in family.samples] == samples


def test_families_follow_each_other() -> None:
    text = render(
        [gauge("a", "One.", ({}, 1)), gauge("b", "Two.", ({"x": "y"}, 2.5), ({"x": "z"}, math.inf))]
    )
    families = parsed(text)
    assert [(name, family.type) for name, family in families.items()] == [("a", "gauge"), ("b", "gauge")]
    assert [sample.value for sample in families["b"].samples] == [2.5, math.inf]


@given(st.lists(st.floats(0, 1e4) | st.sampled_from(COUNTS), max_size=30))
def test_a_histogram_counts_what_is_not_above_each_bound(values: list[float]) -> None:
    measured = Histogram(COUNTS)
    for value in values:
        measured.observe(value)
    (family,) = parsed(render([histogram("size", "Sizes.", measured)])).values()
    assert family.type == "histogram"
    found = {sample.labels.get("le", sample.name): sample.value for sample in family.samples}
    assert found.pop("size_count") == len(values)
    assert math.isclose(found.pop("size_sum"), sum(values), abs_tol=1e-9)
    expected = Counter({str(bound): sum(value <= bound for value in values) for bound in COUNTS})
    assert found == {**expected, "+Inf": len(values)}
