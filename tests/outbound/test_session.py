from __future__ import annotations

import asyncio
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from yarl import URL

from async_endpoint.outbound.resolver import LOOKUPS_AT_ONCE, ThreadedResolver
from async_endpoint.outbound.session import open_session, send

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(allow_private=True, user_agent="me/1") as opened:
        yield opened


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.Response:
        response = web.json_response(dict(request.headers))
        response.set_cookie("a", "b")
        return response

    app = web.Application()
    app.router.add_get("/", answer)
    async with TestServer(app, host="127.0.0.1") as made:
        yield made


async def test_no_proxy_and_no_password_file_of_the_environment_is_used(
    session: aiohttp.ClientSession, server: TestServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    password_file = tmp_path / "netrc"
    password_file.write_text("machine 127.0.0.1 login me password secret")
    monkeypatch.setenv("NETRC", str(password_file))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with await send(session, "GET", server.make_url("/"), headers={}) as response:
        asked = await response.json()
    assert asked["User-Agent"] == "me/1"
    assert "Authorization" not in asked


async def test_cookies_are_not_kept(session: aiohttp.ClientSession, server: TestServer) -> None:
    for _ in range(2):
        async with await send(session, "GET", server.make_url("/"), headers={}) as response:
            assert "Cookie" not in await response.json()


async def cutting(requests: list[bytes], survive: int) -> asyncio.Server:
    """A server whose connections each answer `survive` requests and are cut by the next one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in range(survive + 1):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if turn < survive:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


@pytest.mark.parametrize(
    ("method", "repeatable", "repeats"), [("GET", False, True), ("POST", False, False), ("POST", True, True)]
)
async def test_a_request_is_repeated_only_when_that_is_safe(
    session: aiohttp.ClientSession, method: str, repeatable: bool, repeats: bool
) -> None:
    requests: list[bytes] = []
    async with await cutting(requests, survive=1) as server:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        first = await send(session, method, url, headers={}, repeatable=repeatable)
        assert first.status == 200
        if repeats:
            second = await send(session, method, url, headers={}, repeatable=repeatable)
            assert second.status == 200
        else:
            with pytest.raises(aiohttp.ClientError):
                await send(session, method, url, headers={}, repeatable=repeatable)
    assert len(requests) == (3 if repeats else 2)


async def test_a_fresh_connection_that_is_cut_is_not_tried_again(session: aiohttp.ClientSession) -> None:
    requests: list[bytes] = []
    async with await cutting(requests, survive=0) as server:
        url = URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        with pytest.raises(aiohttp.ClientError):
            await send(session, "GET", url, headers={}, repeatable=True)
    assert len(requests) == 1


# The resolver


async def test_a_name_is_looked_up() -> None:
    found = await ThreadedResolver().resolve("localhost", 80)
    assert {one["host"] for one in found} <= {"127.0.0.1", "::1"}
    assert {one["port"] for one in found} == {80}


@pytest.mark.parametrize("name", ["nowhere.invalid", "a" * 64 + ".test", "a\0b", "."])
async def test_what_has_no_address_is_an_os_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *more: real(host, *more[:-1], socket.AI_NUMERICHOST)
    )
    with pytest.raises(OSError):  # noqa: PT011
        await ThreadedResolver().resolve(name, 80)


async def test_look_ups_that_hang_hold_neither_their_callers_nor_the_shared_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    release = threading.Event()
    started: list[str] = []

    def hang(host: str, *_: object) -> list[Any]:
        started.append(host)
        release.wait(10)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    resolver = ThreadedResolver()
    tasks = [asyncio.create_task(resolver.resolve(f"h{n}", 80)) for n in range(LOOKUPS_AT_ONCE + 10)]
    await asyncio.wait(tasks, timeout=0.2)
    for task in tasks:
        task.cancel()
    began = time.monotonic()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert await asyncio.to_thread(lambda: 1) == 1
    assert time.monotonic() - began < 1
    assert len(started) == LOOKUPS_AT_ONCE

    late = asyncio.create_task(resolver.resolve("late", 80))
    await asyncio.sleep(0.05)
    assert "late" not in started
    release.set()
    assert await late == []
