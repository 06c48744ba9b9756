from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.masking import MASK, masked

SECRET = "s3cr3t-value"

ODD: st.SearchStrategy[Any] = st.sampled_from([None, True, 5, "text", [], [None], {}])


def or_odd(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return values | values | values | ODD


HEADERS = or_odd(
    st.dictionaries(
        st.sampled_from(["Authorization", "cookie", "X-API-KEY", "proxy-Authorization"]), st.just(SECRET)
    ).map(lambda secret: {"Accept": "*/*", **secret})
)
WEBHOOK = st.fixed_dictionaries(
    {"url": st.just("https://a.example")}, optional={"secret": st.just(SECRET), "headers": HEADERS}
)
OPTIONS = st.fixed_dictionaries({"priority": ODD, "webhooks": or_odd(st.lists(or_odd(WEBHOOK), max_size=3))})
TASKS = st.fixed_dictionaries({"payload": ODD}, optional={"headers": HEADERS, "options": or_odd(OPTIONS)})


@given(TASKS)
def test_no_secret_shows_and_nothing_else_changes(task: dict[str, Any]) -> None:
    before = json.dumps(task)
    shown = masked(task)
    assert json.dumps(task) == before
    assert (shown is None) == (SECRET not in before)
    assert json.dumps(shown or task) == before.replace(SECRET, MASK)


def test_an_empty_secret_is_masked_and_none_is_none() -> None:
    assert masked({"options": {"webhooks": [{"secret": ""}, {"secret": None}]}}) == {
        "options": {"webhooks": [{"secret": MASK}, {"secret": None}]}
    }


def test_headers_that_bear_no_credentials_stay() -> None:
    assert masked({"headers": {"Accept": "*/*", "X-Api-Key-Id": "5", "Set-Cookie": "a"}}) is None
