"""Every known way to write a private address in a URL, tried against the real client session.

Sockets are real; only the last step, connecting, is replaced by one that notes the address.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from async_endpoint.outbound.failures import blocked_reason
from async_endpoint.outbound.guard import BlockedError, check_url, parse_url
from async_endpoint.outbound.redirects import OutboundRequest, send_following
from async_endpoint.outbound.session import open_session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PRIVATE_V4 = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
]
PRIVATE_V6 = [
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "0000:0000:0000:0000:0000:0000:0000:0001",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "FD00:EC2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fe80::1",
    "fe80::1%25lo",
    "fe80::1%lo",
    "fe80::a9fe:a9fe",
    "::1%25lo",
    "2606:4700::1111%25lo",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "168.63.129.17",
    "169.253.255.255",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.0.9",
    "192.0.0.10",
    "192.0.1.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.98.1",
    "192.175.48.1",
    "198.20.0.0",
    "223.255.255.254",
    "2001:1::1",
    "2001:1::3",
    "2001:3::1",
    "2001:4:112::1",
    "2001:20::1",
    "2001:4860:4860::8888",
    "2606:4700:4700::1111",
    "2620:4f:8000::1",
    "2a00:1450:4001::1",
    "3fff:1000::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
]
FULL_WIDTH = {ord(character): ord(character) + 0xFEE0 for character in "0123456789abcdefx."}
CIRCLED = {ord(str(digit)): 0x2460 + digit - 1 if digit else 0x24EA for digit in range(10)}
BOLD = {ord(str(digit)): 0x1D7CE + digit for digit in range(10)}
ARABIC = {ord(str(digit)): 0x0660 + digit for digit in range(10)}
SUPERSCRIPT = {ord(str(digit)): ord(sign) for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
OTHER_DOTS = [0x3002, 0xFF0E, 0xFF61, 0x2024]


def numeric_spellings(address: IPv4Address) -> Iterator[str]:
    """The forms of inet_aton: fewer parts, octal, hexadecimal, leading zeros, overflow."""
    a, b, c, d = address.packed
    low_three, low_two, whole = b << 16 | c << 8 | d, c << 8 | d, int(address)
    yield from (str(whole), hex(whole), f"0X{whole:X}", f"0{whole:o}", f"000{whole:o}", str(whole + 2**32))
    yield from (f"{a}.{low_three}", f"{a}.{b}.{low_two}", f"{a:#x}.{low_three:#x}", f"0{a:o}.{b}.{low_two}")
    yield from (
        ".".join(f"{part:#x}" for part in address.packed),
        ".".join(f"0{part:o}" for part in address.packed),
    )
    yield from (f"{a:#x}.{b}.0{c:o}.{d}", f"{a:03}.{b:03}.{c:03}.{d:03}", f"0x{a:08x}.0x{b:04x}.{c}.{d}")
    yield ".".join(f"{part + 256}" for part in address.packed)


def dressed(text: str) -> Iterator[str]:
    """A host in other characters that fold into digits and dots, and with dots at its end."""
    yield from (text, f"{text}.", f"{text}..", text.translate(FULL_WIDTH), text.translate(CIRCLED))
    yield from (text.translate(BOLD), text.translate(ARABIC), text.translate(SUPERSCRIPT))
    yield from (text.replace(".", dot) for dot in map(chr, OTHER_DOTS))
    yield "".join(f"%{ord(character):02x}" for character in text)


def urls_of_ipv4(address: IPv4Address) -> Iterator[str]:
    yield from (f"http://{host}/" for host in dressed(str(address)))
    yield from (f"http://{host}/" for host in numeric_spellings(address))
    yield from (f"https://{host}:8443/" for host in (str(address), str(int(address))))
    for trick in (
        "http://example.com@{}/",
        "http://example.com:80@{}/",
        "http://@{}/",
        "http://{}#@example.com/",
        "http://{}?@example.com/",
        "http://{}\\@example.com/",
        "http://example.com\\@{}/",
        "http://example.com%40{}/",
        "http://{}%00.example.com/",
        "http://{}%2523@example.com/",
        "http:\\\\{}/",
        "http:///{}/",
        "http:{}/",
        "//{}/",
        " http://{}/",
        "\thttp://{}/",
        "ht\ntp://{}/",
        "http://[{}]/",
        "ftp://{}/",
        "gopher://{}:70/_",
        "dict://{}:11211/",
    ):
        yield trick.format(address)


def urls_of_carried_ipv4(address: IPv4Address) -> Iterator[str]:
    bits, public = int(address), int(IPv4Address("8.8.8.8"))
    inverted = ~bits & 0xFFFF_FFFF
    yield from (f"http://[::ffff:{address}]/", f"http://[::{address}]/", f"http://[64:ff9b::{address}]/")
    for number in (
        0xFFFF << 32 | bits,
        bits,
        0xFFFF << 48 | bits,
        0x64_FF9B << 96 | bits,
        0x64_FF9B_0001 << 80 | bits,
        0x2002 << 112 | bits << 80,
        0x2002 << 112 | bits << 80 | 1,
        0x2001 << 112 | public << 64 | inverted,
        0x2001 << 112 | bits << 64 | public,
        0xFE80 << 112 | 0x5EFE << 32 | bits,
        0x2A00_1450 << 96 | 0x5EFE << 32 | bits,
        0x2A00_1450 << 96 | 0x0200_5EFE << 32 | bits,
    ):
        yield f"http://[{IPv6Address(number)}]/"
        yield f"http://[{IPv6Address(number).exploded.upper()}]:8080/"


def attack_urls() -> list[str]:
    addresses = [IPv4Address(text) for text in PRIVATE_V4]
    found = itertools.chain.from_iterable(map(urls_of_ipv4, addresses))
    carried = itertools.chain.from_iterable(map(urls_of_carried_ipv4, addresses))
    return [
        *found,
        *carried,
        *(f"http://[{text}]/" for text in PRIVATE_V6),
        *(f"http://{name}/" for name in NAMES),
    ]


NAMES: dict[str, list[str]] = {
    "localhost": ["127.0.0.1", "::1"],
    "localhost.localdomain": ["127.0.0.1"],
    "metadata.google.internal": ["169.254.169.254", "fd20:ce::254"],
    "private.test": ["10.0.0.1"],
    "private6.test": ["fd00::1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "several.test": ["127.0.0.1", "192.168.0.1", "::1"],
    "127.0.0.1.nip.test": ["127.0.0.1"],
    "intranet": ["192.168.0.10"],
    "xn--bcher-kva.test": ["10.0.0.9"],
}


class Network:
    """What the world looks like: its names, one reachable server, and who was connected to."""

    def __init__(self) -> None:
        self.names: dict[str, list[list[str]]] = {name: [answer] for name, answer in NAMES.items()}
        self.connected: list[str] = []
        self.server: tuple[str, int] | None = None
        self._getaddrinfo = socket.getaddrinfo

    def getaddrinfo(self, host: str, port: int, *args: Any, **more: Any) -> list[Any]:
        """The answer for a known name, the last one again and again; else only what is a number in itself."""
        answers = self.names.get(str(host).rstrip("."))
        if answers is None:
            flags = socket.AI_NUMERICHOST
            return self._getaddrinfo(host, port, 0, socket.SOCK_STREAM, 0, flags)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [self._entry(text, port) for text in answer]

    def _entry(self, text: str, port: int) -> tuple[Any, ...]:
        if ":" in text:
            return (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (text, port, 0, 0))
        return (socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port))

    async def connect(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        self.connected.append(address[0])
        if self.server is None or address[0] != "8.8.8.8":
            raise ConnectionRefusedError(111, "nobody is there")
        sock.setblocking(True)
        sock.connect(self.server)
        sock.setblocking(False)


@pytest.fixture
async def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    made = Network()
    monkeypatch.setattr(socket, "getaddrinfo", made.getaddrinfo)
    monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", made.connect)
    return made


@pytest.fixture
async def session(network: Network) -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(allow_private=False, user_agent="test") as opened:
        yield opened


async def outcome(session: aiohttp.ClientSession, text: str) -> str:
    """How a request ends: `malformed`, `blocked`, `failed`, or its status."""
    try:
        request = OutboundRequest("GET", parse_url(text), {})
        answer = await send_following(session, request, max_redirects=3, check=check_url)
    except (aiohttp.ClientError, BlockedError) as exc:
        return "blocked" if blocked_reason(exc) else "failed"
    except ValueError:
        return "malformed"
    answer.response.close()
    return str(answer.response.status)


async def test_no_spelling_of_a_private_address_connects(
    network: Network, session: aiohttp.ClientSession
) -> None:
    urls = attack_urls()
    assert len(set(urls)) > 1_200
    outcomes = {url: await outcome(session, url) for url in urls}
    assert network.connected == []
    # What fails without being blocked is a name that nobody has, never something that was tried.
    assert set(outcomes.values()) == {"blocked", "malformed", "failed"}
    assert all(outcomes[f"http://{text}/"] == "blocked" for text in (*PRIVATE_V4, *NAMES))
    assert all(outcomes[f"http://[{text}]/"] == "blocked" for text in PRIVATE_V6)


@pytest.mark.parametrize("text", PUBLIC)
async def test_every_public_address_is_tried(
    network: Network, session: aiohttp.ClientSession, text: str
) -> None:
    network.names["public.test"] = [[text]]
    literal = f"[{text}]" if ":" in text else text
    assert await outcome(session, f"http://{literal}/") == "failed"
    assert await outcome(session, "http://public.test./") == "failed"
    assert [ip_address(one) for one in network.connected] == [ip_address(text)] * 2


async def test_of_several_addresses_only_the_public_ones_are_tried(
    network: Network, session: aiohttp.ClientSession
) -> None:
    network.names["mixed.test"] = [["127.0.0.1", "8.8.8.8", "::1", "10.0.0.1", "2606:4700::1111"]]
    await outcome(session, "http://mixed.test/")
    assert set(network.connected) == {"8.8.8.8", "2606:4700::1111"}


@pytest.fixture
async def redirector(network: Network) -> AsyncIterator[None]:
    """A server at 8.8.8.8 that redirects to the parameter `to`, and closes each connection."""

    async def redirect(request: web.Request) -> web.Response:
        headers = {"Location": request.query["to"]} if "to" in request.query else {}
        response = web.Response(status=302 if headers else 200, headers=headers)
        response.force_close()
        return response

    app = web.Application()
    app.router.add_get("/", redirect)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    network.server = runner.addresses[0]
    yield
    await runner.cleanup()


@pytest.mark.usefixtures("redirector")
async def test_no_redirect_leads_to_a_private_address(
    network: Network, session: aiohttp.ClientSession
) -> None:
    targets = [url for url in attack_urls()[::7] if url.isprintable()]
    for target in targets:
        entry = parse_url("http://8.8.8.8/").with_query({"to": target})
        assert await outcome(session, str(entry)) in {"blocked", "failed", "404", "200"}, target
    assert set(network.connected) == {"8.8.8.8"}


@pytest.mark.usefixtures("redirector")
async def test_a_name_that_changes_between_look_ups(network: Network, session: aiohttp.ClientSession) -> None:
    network.names["rebind.test"] = [["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8"], ["::1"], ["169.254.169.254"]]
    outcomes = [await outcome(session, "http://rebind.test/") for _ in range(5)]
    assert outcomes == ["200", "blocked", "200", "blocked", "blocked"]
    assert network.connected == ["8.8.8.8", "8.8.8.8"]


@pytest.mark.usefixtures("redirector")
async def test_a_session_that_follows_redirects_itself_is_guarded_too(
    network: Network, session: aiohttp.ClientSession
) -> None:
    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        await session.get("http://8.8.8.8/?to=http://127.0.0.1:1/", allow_redirects=True)
    assert blocked_reason(caught.value) == "the address is not public (loopback)"
    assert network.connected == ["8.8.8.8"]
