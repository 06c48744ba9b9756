from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from async_endpoint.outbound.guard import BlockedError, GuardedSockets, check_url, parse_url


def addr_info(address: str, family: int = socket.AF_INET, scope: int = 0) -> tuple[object, ...]:
    where = (address, 80, 0, scope) if family == socket.AF_INET6 else (address, 80)
    return (family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)


def is_opened(sockets: GuardedSockets, *info: object) -> bool:
    try:
        sockets(addr_info(*info)).close()  # type: ignore[arg-type]
    except BlockedError:
        return False
    return True


def test_a_socket_is_opened_to_a_public_address_only() -> None:
    sockets = GuardedSockets()
    assert is_opened(sockets, "8.8.8.8")
    assert is_opened(sockets, "2606:4700::1111", socket.AF_INET6)
    assert not is_opened(sockets, "127.0.0.1")
    assert not is_opened(sockets, "::1", socket.AF_INET6)


def test_private_networks_can_be_opened_but_metadata_services_stay_shut() -> None:
    sockets = GuardedSockets(allow_private=True)
    assert is_opened(sockets, "127.0.0.1")
    assert is_opened(sockets, "10.0.0.1")
    assert is_opened(sockets, "fe80::1%lo", socket.AF_INET6, 1)
    assert not is_opened(sockets, "169.254.169.254")
    assert not is_opened(sockets, "fd00:ec2::254", socket.AF_INET6)
    assert not is_opened(sockets, "::ffff:169.254.169.254", socket.AF_INET6)
    assert not is_opened(sockets, "fe80::a9fe:a9fe%lo", socket.AF_INET6, 1)


@pytest.mark.parametrize(
    "address", ["", "localhost", "0x7f.1", "127.1", "2130706433", "8.8.8.08", "8.8.8.8 ", "٨.8.8.8"]
)
@pytest.mark.parametrize("allow_private", [False, True])
def test_what_is_not_an_address_is_refused(address: str, allow_private: bool) -> None:
    assert not is_opened(GuardedSockets(allow_private=allow_private), address)


def test_a_public_address_with_a_scope_is_refused() -> None:
    assert not is_opened(GuardedSockets(), "2606:4700::1111%lo", socket.AF_INET6)
    assert not is_opened(GuardedSockets(), "2606:4700::1111", socket.AF_INET6, 1)


def test_another_address_family_is_refused() -> None:
    with pytest.raises(BlockedError):
        GuardedSockets(allow_private=True)((socket.AF_UNIX, socket.SOCK_STREAM, 0, "", "/run/docker.sock"))


def test_refusals_read_alike_and_say_why_apart() -> None:
    refused = []
    for address in ("127.0.0.1", "10.0.0.1"):
        with pytest.raises(BlockedError) as caught:
            GuardedSockets()(addr_info(address))
        refused.append(caught.value)
    assert str(refused[0]) == str(refused[1])
    assert [one.reason for one in refused] == [
        "the address is not public (loopback)",
        "the address is not public (private)",
    ]


@pytest.mark.parametrize(
    "url", ["http://example.com", "HTTPS://example.com:8443/a?b#c", "http://@example.com/"]
)
def test_urls_that_may_be_requested(url: str) -> None:
    check_url(parse_url(url))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://example.com/", "only http and https"),
        ("gopher://127.0.0.1:6379/_x", "only http and https"),
        ("javascript:alert(1)", "only http and https"),
        ("localhost:8080/x", "only http and https"),
        ("ws://example.com/", "only http and https"),
        ("tcp://example.com/", "only http and https"),
        ("http://user@example.com/", "credentials"),
        ("http://user:pass@example.com/", "credentials"),
        ("http://:pass@example.com/", "credentials"),
        ("http://:@example.com/", "credentials"),
        ("http://example.com@127.0.0.1/", "credentials"),
    ],
)
def test_urls_that_may_not_be_requested(url: str, reason: str) -> None:
    with pytest.raises(BlockedError) as caught:
        check_url(parse_url(url))
    assert reason in caught.value.reason
    assert "pass" not in caught.value.reason


def test_a_url_without_a_host_is_blocked() -> None:
    with pytest.raises(BlockedError):
        check_url(URL("http:/path"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "//example.com/",
        "/path",
        "http:",
        "http://",
        "http:///x",
        "http://:80/",
        "http://a:99999/",
        "http://a:b/",
        "http://[::1/",
        "http://[::1]x/",
        "http://[::1]@",
        "http://a\\@b/",
        "http://a\nb/",
        "http://a/\x00",
        "http://a℀b/",
        "http://e\u200bvil.test/",
        "http://a b/",
        "http://a%2eb/",
    ],
)
def test_what_is_not_a_url_is_named_so(text: str) -> None:
    with pytest.raises(ValueError, match="URL"):
        check_url(parse_url(text))


@given(st.text(alphabet=st.sampled_from("htps:/\\@[]#?%.0x127a:ⅷ①。٣\u200b‥")))
def test_every_text_is_a_url_or_a_value_error(text: str) -> None:
    for candidate in (text, f"http://{text}", f"https://[{text}]/"):
        try:
            url = parse_url(candidate)
        except ValueError:
            continue
        try:
            check_url(url)
        except BlockedError:
            continue
        assert url.scheme in ("http", "https")
        assert url.raw_host


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("sig=%41%2f%7E&b=%e4&c=%3D+1", None),
        ("a[]=1|2&d=%zz%", "a%5B%5D=1%7C2&d=%25zz%25"),
        ("ü=%C3%BC", "%C3%BC=%C3%BC"),
        ("u=http://a/?b:c@d", None),
    ],
)
@pytest.mark.parametrize("base", [None, URL("https://example.com/a?old#old")])
def test_a_query_is_sent_as_it_was_written(written: str, sent: str | None, base: URL | None) -> None:
    text = f"?{written}#end" if base else f"https://user:pass@example.com:8443/%C3%BC?{written}#end"
    url = parse_url(text, base)
    assert url.raw_query_string == (sent or written)
    assert url.raw_path_qs == f"{'/a' if base else '/%C3%BC'}?{sent or written}"
    assert (url.raw_user, url.port) == ((None, 443) if base else ("user", 8443))


def test_a_relative_url_is_joined_to_its_base() -> None:
    base = URL("https://a.test/x/y?z")
    assert str(parse_url("../w", base)) == "https://a.test/w"
    assert str(parse_url("//b.test/", base)) == "https://b.test/"
    assert str(parse_url("http://c.test/", base)) == "http://c.test/"
