"""The fetch handler against servers that mean harm: each ends soon, clearly, and in little memory."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc
import zlib
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from async_endpoint.errors import JobError
from async_endpoint.handlers.fetch import run
from async_endpoint.handlers.fetch_params import Fetch
from async_endpoint.outbound.bodies import MAX_BODY_BYTES
from async_endpoint.outbound.session import open_session, undecoded
from async_endpoint.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import aiohttp

    Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"
MOST_MEMORY = 50 * 2**20


class Nasty:
    """A server that answers each request with what it was given, and knows what became of its connections."""

    def __init__(self, answer: Answer) -> None:
        self.requests = 0
        self.open = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                self.requests += 1
                await self._answer(writer)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    async def is_left(self) -> bool:
        """Whether every connection is closed within a moment."""
        for _ in range(200):
            if not self.open:
                return True
            await asyncio.sleep(0.01)
        return False


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[tuple[Nasty, str]]:
    nasty = Nasty(answer)
    server = await asyncio.start_server(nasty.serve, "127.0.0.1", 0)
    try:
        yield nasty, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        server.close()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with open_session(allow_private=True, user_agent="test") as session:
        raw = undecoded(session)
        yield raw


async def fetch(http: aiohttp.ClientSession, url: str, **more: Any) -> dict[str, Any]:
    """Run the handler; it may take two seconds and some memory, however it ends."""
    params = Fetch.model_validate_json(json.dumps({"url": url, "timeoutMs": 2_000, **more}))
    ctx: Any = SimpleNamespace(settings=Settings(), raw_http=http)
    tracemalloc.start()
    began = time.monotonic()
    try:
        return await run(params, ctx)  # type: ignore[no-any-return]
    finally:
        assert time.monotonic() - began < 3
        assert tracemalloc.get_traced_memory()[1] < MOST_MEMORY
        tracemalloc.stop()


async def failure(http: aiohttp.ClientSession, url: str, **more: Any) -> str:
    with pytest.raises(JobError) as caught:
        await fetch(http, url, **more)
    assert (caught.value.code, caught.value.retryable) == ("fetch-failed", True)
    return str(caught.value)


async def forever(writer: asyncio.StreamWriter, data: bytes, gap: float = 0) -> None:
    while True:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(gap)


async def test_an_endless_body_is_cut(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        await forever(writer, b"x" * 65_536)

    async with served(answer) as (nasty, url):
        result = await fetch(http, url)
        assert await nasty.is_left()
    assert (result["status"], result["truncated"], result["body"]) == (200, True, "x" * 50_000)
    assert MAX_BODY_BYTES < result["bytes"] < MAX_BODY_BYTES + 2**20


async def test_an_endless_body_cannot_be_saved(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"\r\n")
        await forever(writer, b"x" * 65_536)

    async with served(answer) as (nasty, url):
        with pytest.raises(JobError) as caught:
            await fetch(http, url, saveBodyAs="a")
        assert await nasty.is_left()
    assert (caught.value.code, caught.value.retryable) == ("result-too-large", False)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_bomb_of_ten_gigabytes_is_cut(http: aiohttp.ClientSession, encoding: str) -> None:
    packer = zlib.compressobj(wbits=31 if encoding == "gzip" else 15)
    begin = packer.compress(b"\0") + packer.flush(zlib.Z_FULL_FLUSH)
    mebibyte = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + f"Content-Encoding: {encoding}\r\n\r\n".encode() + begin)
        for _ in range(10_240):
            writer.write(mebibyte)
            await writer.drain()

    async with served(answer) as (nasty, url):
        result = await fetch(http, url)
        assert await nasty.is_left()
    assert (result["truncated"], result["body"]) == (True, "\0" * 50_000)
    assert MAX_BODY_BYTES < result["bytes"] < MAX_BODY_BYTES + 2**20


async def test_a_bomb_in_one_piece_is_cut(http: aiohttp.ClientSession) -> None:
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + f"Content-Encoding: gzip\r\nContent-Length: {len(bomb)}\r\n\r\n".encode() + bomb)

    async with served(answer) as (_, url):
        result = await fetch(http, url)
    assert result["truncated"]


async def test_a_trickled_body_ends_at_the_timeout(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 1000000\r\n\r\n")
        await forever(writer, b"x", gap=0.01)

    async with served(answer) as (nasty, url):
        assert await failure(http, url, timeoutMs=300) == "there was no whole answer within 300 ms"
        assert await nasty.is_left()


async def test_trickled_headers_end_at_the_timeout(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"X: ")
        await forever(writer, b"x", gap=0.01)

    async with served(answer) as (nasty, url):
        assert "300 ms" in await failure(http, url, timeoutMs=300)
        assert await nasty.is_left()


async def test_silence_ends_at_the_timeout(http: aiohttp.ClientSession) -> None:
    async def answer(_: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with served(answer) as (_, url):
        assert "300 ms" in await failure(http, url, timeoutMs=300)


async def test_endless_interim_answers_end_at_the_timeout(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        await forever(writer, b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100)

    async with served(answer) as (nasty, url):
        assert "300 ms" in await failure(http, url, timeoutMs=300)
        assert await nasty.is_left()


async def test_slow_redirects_share_one_timeout(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n")

    async with served(answer) as (nasty, url):
        assert "350 ms" in await failure(http, url, timeoutMs=350, followRedirects=20)
    assert 3 <= nasty.requests <= 5


@pytest.mark.parametrize(
    "headers", [b"X: y\r\n" * 100_000, b"X: " + b"y" * 10_000_000 + b"\r\n", b"y" * 10_000_000]
)
async def test_too_many_and_too_long_headers(http: aiohttp.ClientSession, headers: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + headers + b"\r\n")

    async with served(answer) as (nasty, url):
        assert "not valid HTTP" in await failure(http, url)
        assert await nasty.is_left()


async def test_endless_trailers(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n")
        await forever(writer, b"X: y\r\n" * 1_000)

    async with served(answer) as (nasty, url):
        await failure(http, url, timeoutMs=1_000)
        assert await nasty.is_left()


async def test_endless_chunk_extensions(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n1;")
        await forever(writer, b"x" * 10_000)

    async with served(answer) as (nasty, url):
        await failure(http, url, timeoutMs=1_000)
        assert await nasty.is_left()


@pytest.mark.parametrize(
    "cut",
    [
        OK + b"Content-Length: 100\r\n\r\nhalf",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 100\r\n\r\n\x1f\x8b\x08",
        OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        OK + b"Content-Encoding: br\r\nContent-Length: 4\r\n\r\nnope",
        OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        OK[:20],
        b"",
    ],
)
async def test_a_connection_that_is_cut(http: aiohttp.ClientSession, cut: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(cut)
        writer.close()

    async with served(answer) as (nasty, url):
        await failure(http, url)
        # The job's own attempts are the only ones.
        assert nasty.requests == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0\xff\x16\x03\x01" * 1_000,
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    ],
)
async def test_garbage(http: aiohttp.ClientSession, garbage: bytes) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        writer.close()

    async with served(answer) as (nasty, url):
        await failure(http, url)
        assert await nasty.is_left()


async def test_a_switch_of_protocols_nobody_asked_for(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
        await forever(writer, b"x" * 65_536, gap=0.001)

    async with served(answer) as (nasty, url):
        result = await fetch(http, url, timeoutMs=300)
        assert await nasty.is_left()
    assert result["status"] == 101


async def test_nobody_there(http: aiohttp.ClientSession) -> None:
    async with served(lambda _: asyncio.sleep(0)) as (_, url):
        pass
    assert await failure(http, url) == "the connection failed: Connection refused"


async def test_a_secure_connection_to_a_server_that_has_none(http: aiohttp.ClientSession) -> None:
    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert "no secure connection" in await failure(http, f"https://127.0.0.1:{port}/")


async def test_bytes_in_headers_that_are_no_text(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nX-A: gr\xfc\xc3\x9f\r\nContent-Length: 0\r\n\r\n")

    async with served(answer) as (_, url):
        assert (await fetch(http, url))["headers"]["x-a"] == "gr\ufffdß"


async def test_no_such_name(http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise OSError("no such name")

    monkeypatch.setattr("socket.getaddrinfo", nothing)
    assert await failure(http, "http://nowhere.invalid/") == "the host name could not be resolved"
    assert await failure(http, f"http://{'a' * 64}.test/") == "the host name could not be resolved"


async def test_a_closed_kept_alive_connection_is_no_failure(http: aiohttp.ClientSession) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        # Every second request of a connection finds it closed, although nothing had announced that.
        if nasty.requests % 2 == 0:
            writer.close()
        else:
            writer.write(OK + b"Content-Length: 0\r\n\r\n")

    async with served(answer) as (nasty, url):
        assert (await fetch(http, url))["status"] == 200
        assert (await fetch(http, url))["status"] == 200
    assert nasty.requests == 3


async def test_cancelling_closes_the_socket(http: aiohttp.ClientSession) -> None:
    asked = asyncio.Event()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 100000\r\n\r\n")
        asked.set()
        await forever(writer, b"x", gap=0.01)

    async with served(answer) as (nasty, url):
        task = asyncio.create_task(fetch(http, url))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await nasty.is_left()
