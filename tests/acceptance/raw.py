"""Requests as bytes, for what no HTTP client would send."""

from __future__ import annotations

import asyncio
import re


async def exchange(port: int, raw: bytes, *, seconds: float = 20) -> int | None:
    """Status of the answer to these bytes, or None when the connection was closed without one."""
    return status_of(await conversation(port, raw, seconds=seconds))


async def conversation(port: int, raw: bytes, *, seconds: float = 20) -> bytes:
    """The first whole answer, or all that comes until the connection is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        async with asyncio.timeout(seconds):
            writer.write(raw)
            await writer.drain()
            while not is_whole(received) and (chunk := await reader.read(65536)):
                received += chunk
    except ConnectionError:
        pass  # closed before it had read everything; what it said until then counts
    finally:
        writer.close()
    return received


def is_whole(reply: bytes) -> bool:
    """Whether `reply` has a final head and all the body that its Content-Length announces."""
    head, end, body = _final(reply).partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length:\s*(\d+)", head)
    return bool(end and length and len(body) >= int(length[1]))


def status_of(reply: bytes) -> int | None:
    head = _final(reply)
    return int(head.split(None, 2)[1]) if head.startswith(b"HTTP/1.") else None


def _final(reply: bytes) -> bytes:
    """What follows the interim answers (100 Continue)."""
    while re.match(rb"HTTP/1\.\d 1\d\d ", reply):
        reply = reply.partition(b"\r\n\r\n")[2]
    return reply
