from __future__ import annotations

import pytest
from yarl import URL

from async_endpoint.outbound.hosts import HostList

HOSTS = HostList(["API.Example.com.", "*.bücher.example", "192.0.2.1", "[2001:DB8::0:1]"])


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com/",
        "https://API.EXAMPLE.COM.:8443/x",
        "http://shop.bücher.example",
        "http://a.b.xn--bcher-kva.example",
        "http://192.0.2.1/",
        "http://[2001:db8:0::1]/",
    ],
)
def test_a_host_of_the_list(url: str) -> None:
    assert URL(url).raw_host in HOSTS


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "http://x.api.example.com/",
        "http://api.example.com.evil.test/",
        "http://evilbücher.example/",
        "http://bücher.example/",
        "http://192.0.2.10/",
        "http://[2001:db8::2]/",
    ],
)
def test_another_host(url: str) -> None:
    assert URL(url).raw_host not in HOSTS


def test_no_host_is_not_in_the_list() -> None:
    assert None not in HOSTS
    assert "" not in HOSTS


@pytest.mark.parametrize(
    "pattern", ["", ".", "*", "*.", "a.*", "a b", "a/b", "a:80", "user@a", "http://a", "*.*.a"]
)
def test_what_is_not_a_pattern_is_named(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a host name"):
        HostList([pattern])
