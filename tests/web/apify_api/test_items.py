from __future__ import annotations

from typing import Any

import pytest

from async_endpoint.web.apify_api.errors import ApiError
from async_endpoint.web.apify_api.items import ItemQuery, flat_cells

PAUL = {"name": "Paul", "address": [{"city": "Rome"}, {"city": "Oslo"}], "#debug": 1}


def shape(items: list[Any], **query: str) -> list[Any]:
    return list(ItemQuery.parse(query).shape(items))


def test_without_parameters_items_leave_as_they_are() -> None:
    assert ItemQuery.parse({"offset": "2", "limit": "5", "desc": "1"}).keeps_items
    assert shape([PAUL, 7, None, [1]]) == [PAUL, 7, None, [1]]


def test_fields_come_in_the_order_asked_for() -> None:
    [item] = shape([{"a": 1, "b": 2, "c": 3}], fields="c, a,missing")
    assert list(item.items()) == [("c", 3), ("a", 1)]


def test_a_dotted_field_keeps_the_objects_that_lead_to_it() -> None:
    item = {"a": {"b": 1, "c": {"d": 2}, "e": 3}, "x.y": 4}
    assert shape([item], fields="a.b,a.c.d,x.y,a.z") == [{"a": {"b": 1, "c": {"d": 2}}, "x.y": 4}]


def test_omit_wins_over_fields() -> None:
    assert shape([{"a": 1, "b": {"c": 2, "d": 3}}], fields="a,b", omit="a,b.c") == [{"b": {"d": 3}}]


def test_unwinding_a_list_makes_one_record_for_each_element() -> None:
    assert shape([{"name": "x", "parts": [{"n": 1}, {"n": 2, "name": "y"}, 3]}], unwind="parts") == [
        {"name": "x", "n": 1},
        {"name": "y", "n": 2},
        {"name": "x", "parts": 3},
    ]


def test_unwinding_an_object_merges_it_and_anything_else_is_kept() -> None:
    items = [{"a": 1, "b": {"c": 2}}, {"a": 1}, {"b": 5}, {"b": []}]
    assert shape(items, unwind="b") == [{"a": 1, "c": 2}, {"a": 1}, {"b": 5}, {"b": []}]


def test_fields_may_name_the_unwound_field_or_what_comes_out_of_it() -> None:
    item = {"query": "q", "results": [{"title": "t", "url": "u"}], "other": 1}
    whole = shape([item], fields="results,query", unwind="results")
    assert [list(record.items()) for record in whole] == [[("title", "t"), ("url", "u"), ("query", "q")]]
    assert shape([item], fields="query,url", unwind="results") == [{"query": "q", "url": "u"}]


def test_flatten_gives_dotted_names_that_fields_may_name_too() -> None:
    item = {"foo": {"bar": "hello", "deep": {"er": 1}}, "x": 2}
    assert shape([item], flatten="foo") == [{"foo.bar": "hello", "foo.deep.er": 1, "x": 2}]
    assert shape([item], flatten="foo", fields="foo.bar") == [{"foo.bar": "hello"}]
    assert shape([item], flatten="foo", fields="foo") == [{"foo.bar": "hello", "foo.deep.er": 1}]


def test_several_fields_are_unwound_in_turn() -> None:
    item = {"a": [1, 2], "b": [3, 4]}
    assert shape([item], unwind="a,b") == [
        {"a": 1, "b": 3},
        {"a": 1, "b": 4},
        {"a": 2, "b": 3},
        {"a": 2, "b": 4},
    ]


def test_clean_skips_hidden_fields_and_then_empty_items() -> None:
    items = [{"#error": "x"}, {}, {"a": 1, "#b": 2}, None]
    assert shape(items, clean="true") == [{"a": 1}]
    assert shape(items, skipHidden="1") == [{}, {}, {"a": 1}, None]
    assert shape(items, skipEmpty="1") == [{"#error": "x"}, {"a": 1, "#b": 2}]


def test_output_fields_rename_by_position() -> None:
    assert shape([{"a": 1, "b": 2}], fields="b,a", outputFields="B,A") == [{"B": 2, "A": 1}]
    with pytest.raises(ApiError, match="outputFields"):
        ItemQuery.parse({"fields": "a", "outputFields": "b,c"})


def test_the_legacy_crawler_parameters() -> None:
    page = {"url": "u", "pageFunctionResult": [{"n": 1}, {"n": 2}], "label": "l"}
    assert shape([page], simplified="1") == [{"url": "u", "n": 1}, {"url": "u", "n": 2}]
    assert shape([page, {"errorInfo": {"m": 1}}], skipFailedPages="true") == [page]


@pytest.mark.parametrize(
    ("query", "limit", "reported"),
    [({}, 250_000, 999_999_999_999), ({"limit": "0"}, 250_000, 999_999_999_999), ({"limit": "7.0"}, 7, 7)],
)
def test_limits(query: dict[str, str], limit: int, reported: int) -> None:
    parsed = ItemQuery.parse(query)
    assert (parsed.page_limit, parsed.reported_limit) == (limit, reported)


@pytest.mark.parametrize(
    "query", [{"limit": "-1"}, {"offset": "x"}, {"offset": "inf"}, {"limit": "nan"}, {"desc": "yes"}]
)
def test_bad_values_are_refused(query: dict[str, str]) -> None:
    with pytest.raises(ApiError) as caught:
        ItemQuery.parse(query)
    assert (caught.value.status, caught.value.type) == (400, "invalid-parameter")


def test_a_row_of_a_table_names_nested_fields_by_their_path() -> None:
    assert flat_cells({"a": {"b": [1, {"c": None}], "e": {}}, "f": []}) == {
        "a/b/0": 1,
        "a/b/1/c": None,
        "a/e": {},
        "f": [],
    }
    assert flat_cells(5) == {"value": 5}
