from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from async_endpoint.web.apify_api import actors, runs
from async_endpoint.web.apify_api.endpoints import ROUTER
from async_endpoint.web.apify_api.errors import ApiError
from async_endpoint.web.apify_api.published import PUBLISHED
from async_endpoint.web.apify_api.routing import Router, effective_method


def test_served_paths_are_found_with_their_names() -> None:
    assert ROUTER.resolve("GET", "acts/echo") == (actors.show_actor, ("echo",))
    assert ROUTER.resolve("GET", "actors/a~b")[1] == ("a~b",)
    assert ROUTER.resolve("POST", "actor-tasks/x/runs") == (runs.start_task, ("x",))
    assert ROUTER.resolve("GET", "key-value-stores/s/records/a%2Fb%20c")[1] == ("s", "a/b c")
    assert ROUTER.resolve("HEAD", "datasets/d/items")[1] == ("d",)


def test_the_last_run_is_no_run_id() -> None:
    last, names = ROUTER.resolve("GET", "acts/echo/runs/last")
    assert names == ("echo",)
    assert last is not ROUTER.resolve("GET", "acts/echo/runs/0193")[0]
    assert ROUTER.resolve("POST", "actor-tasks/t/runs/last/abort")[1] == ("t",)


@pytest.mark.parametrize(
    ("method", "path", "status", "error_type"),
    [
        ("GET", "nothing", 404, "page-not-found"),
        ("GET", "", 404, "page-not-found"),
        ("GET", "acts/", 404, "page-not-found"),
        ("GET", "acts/a/runs/b/c/d", 404, "page-not-found"),
        ("GET", "acts", 501, "not-implemented"),
        ("DELETE", "actor-runs/x", 501, "not-implemented"),
        ("PUT", "datasets/x", 501, "not-implemented"),
        ("GET", "users/me/limits", 501, "not-implemented"),
        ("GET", "schedules/x/log", 501, "not-implemented"),
        ("POST", "actor-runs/x/request-queue/requests/batch", 501, "not-implemented"),
        ("PATCH", "acts/echo", 405, "method-not-allowed"),
        ("POST", "datasets/x", 405, "method-not-allowed"),
        ("HEAD", "acts/echo/run-sync", 405, "method-not-allowed"),
    ],
)
def test_refusals(method: str, path: str, status: int, error_type: str) -> None:
    with pytest.raises(ApiError) as caught:
        ROUTER.resolve(method, path)
    assert (caught.value.status, caught.value.type) == (status, error_type)


def test_a_405_names_the_methods() -> None:
    with pytest.raises(ApiError) as caught:
        ROUTER.resolve("PATCH", "datasets/x/items")
    assert caught.value.headers["Allow"] == "GET, HEAD, POST"


def test_only_published_paths_can_be_served() -> None:
    with pytest.raises(ValueError, match="acts/\\*/nope"):
        Router({"acts/*/nope": {}})


def test_every_path_is_found_by_itself() -> None:
    for path in PUBLISHED:
        first = next(other for other in PUBLISHED if other.match(path.segments) is not None)
        assert first == path


@pytest.mark.parametrize(
    ("method", "query", "meant"),
    [
        ("GET", "", "GET"),
        ("GET", "?method=post", "POST"),
        ("POST", "?method=GET", "GET"),
        ("DELETE", "?method=POST", "DELETE"),
    ],
)
def test_the_query_can_name_the_method(method: str, query: str, meant: str) -> None:
    assert effective_method(make_mocked_request(method, f"/v2/x{query}")) == meant
