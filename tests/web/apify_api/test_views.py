from __future__ import annotations

from typing import Any

import pytest

from async_endpoint.actor.dataset_schema import TRANSFORMATIONS
from async_endpoint.web.apify_api.errors import ApiError
from async_endpoint.web.apify_api.items import ItemQuery
from async_endpoint.web.apify_api.views import with_view

VIEWS: dict[str, dict[str, Any]] = {
    "prices": {
        "fields": ["name", "offers"],
        "unwind": ["offers"],
        "omit": ["secret"],
        "flatten": ["shop"],
        "desc": True,
        "limit": 2,
        "skipEmpty": False,
    },
    "clean": {"clean": True},
}


def parsed(**query: str) -> ItemQuery:
    return ItemQuery.parse(with_view(query, VIEWS))


def test_a_view_is_a_set_of_parameters() -> None:
    assert parsed(view="prices") == ItemQuery(
        limit=2, desc=True, fields=("name", "offers"), unwind=("offers",), omit=("secret",), flatten=("shop",)
    )
    assert parsed(view="clean") == ItemQuery(skip_hidden=True, skip_empty=True)


def test_a_view_transforms_items() -> None:
    item = {"name": "a", "offers": [{"price": 1}, {"price": 2, "secret": 3}], "id": 7}
    assert list(parsed(view="prices").shape([item])) == [
        {"name": "a", "price": 1},
        {"name": "a", "price": 2},
    ]


def test_what_the_query_says_itself_goes_before_the_view() -> None:
    own = parsed(view="prices", fields="id", desc="0", limit="5", offset="1")
    assert (own.fields, own.desc, own.limit, own.offset) == (("id",), False, 5, 1)
    assert own.unwind == ("offers",)


def test_an_empty_parameter_is_none() -> None:
    assert parsed(view="prices", fields="", limit="") == parsed(view="prices")
    assert parsed(view="", fields="id") == ItemQuery(fields=("id",))


@pytest.mark.parametrize("views", [VIEWS, {}])
def test_an_unknown_view_is_refused(views: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ApiError, match=", ".join(views) or "none") as caught:
        with_view({"view": "overview"}, views)
    assert (caught.value.status, caught.value.type) == (400, "requested-dataset-view-does-not-exist")


def test_the_service_can_apply_its_own_views() -> None:
    for name, transformation in TRANSFORMATIONS.items():
        assert (
            list(ItemQuery.parse(with_view({"view": name}, TRANSFORMATIONS)).fields)
            == transformation["fields"]
        )
