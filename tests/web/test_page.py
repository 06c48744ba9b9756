from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from async_endpoint.errors import Starting
from async_endpoint.web import page
from async_endpoint.web.backend import BACKEND
from async_endpoint.web.ops import PROBE_HEADER

CHROME = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


def get(*accept: str, **headers: str) -> Any:
    fields: Any = [("Accept", value) for value in accept] + list(headers.items())
    app = web.Application()
    app[BACKEND] = SimpleNamespace(ready=False)  # type: ignore[misc]
    return make_mocked_request("GET", "/", CIMultiDict(fields), app=app)


@pytest.mark.parametrize(
    "accept",
    [
        CHROME,
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "text/*",
        "text/html, application/xhtml+xml, */*",
        "application/json;q=0.8, text/html;q=0.9",
        "application/json;q=0, */*",
        "text/html, text/html;q=oops",
    ],
)
def test_who_prefers_html_gets_the_page(accept: str) -> None:
    assert page.is_open(get(accept))


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "application/json",
        "text/plain",
        "text/html, application/json",
        "text/html;q=0.5, */*",
        "text/html;q=0.5, application/*;q=0.6",
        "text/html;q=0",
        "text/html;q=0, */*;q=0",
        "text/html;q=0, */*;q=0.1",
        "text/html;q=nan",
        "text/html;q=oops",
        ",;,;;q=",
    ],
)
def test_everybody_else_gets_json_and_needs_the_token(accept: str) -> None:
    assert not page.is_open(get(accept))


def test_several_headers_are_one_list() -> None:
    assert not page.is_open(get("text/html;q=0.5", "application/json"))
    assert page.is_open(get("application/json;q=0.5", "text/html"))
    assert not page.is_open(get())


async def test_the_page_is_locked_down_and_a_probe_never_gets_it() -> None:
    response = await page.root(get(CHROME))
    assert response.content_type == "text/html"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["Vary"] == "Accept"
    with pytest.raises(Starting):
        await page.root(get(CHROME, **{PROBE_HEADER: "1"}))
