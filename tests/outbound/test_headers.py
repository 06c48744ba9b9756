from __future__ import annotations

import pytest

from async_endpoint.outbound.headers import check_headers, for_other_origin


def test_a_callers_headers_pass() -> None:
    headers = {"Authorization": "Bearer x", "X-Any_thing!": "tab\tand ünïcode", "Cookie": "a=b", "Empty": ""}
    assert check_headers(headers) == headers


@pytest.mark.parametrize(
    "name",
    [
        "Host",
        "Content-Length",
        "Connection",
        "KEEP-ALIVE",
        "Transfer-Encoding",
        "upgrade",
        "TE",
        "Trailer",
        "Proxy-Connection",
        "Proxy-Authenticate",
        "Expect",
    ],
)
def test_headers_of_the_connection_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        check_headers({name: "x"})


@pytest.mark.parametrize("name", ["", " Host", "Host ", "Host:", "a b", "a\r\nHost", "ä", "a\0"])
def test_what_is_not_a_header_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not a header name"):
        check_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nHost: x", "a\nb", "a\rb", "a\0", "\x7f", "\ud800"])
def test_a_value_cannot_smuggle_a_line(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        check_headers({"X-A": value})


def test_a_header_that_is_there_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="X-a is there twice"):
        check_headers({"x-A": "1", "X-a": "2"})


def test_only_harmless_headers_go_to_another_origin() -> None:
    secret = {"Authorization": "a", "Cookie": "b", "X-Api-Key": "c", "X-Custom": "d", "Referer": "e"}
    assert for_other_origin(secret | {"Accept": "*/*", "USER-AGENT": "me"}) == {
        "Accept": "*/*",
        "USER-AGENT": "me",
    }
