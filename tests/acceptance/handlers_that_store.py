"""Task types that store items and records beside their result; the service under test loads them by name."""

from __future__ import annotations

import asyncio
from typing import Any

from pydantic import BaseModel

from async_endpoint.errors import JobError
from async_endpoint.handlers import JobContext, handler


class Count(BaseModel):
    items: int = 3


class Talk(BaseModel):
    lines: int = 3
    pause_ms: int = 100


@handler("crawl")
async def crawl(params: Count, ctx: JobContext) -> Any:
    for number in range(params.items):
        ctx.push_data({"number": number, "page": {"title": f"Täg {number}"}, "#debug": number % 2 == 0})
    ctx.set_value("shot.png", b"\x89PNG\r\n", "image/png")
    ctx.set_value("page.html", "<script>alert(1)</script>", "text/html; charset=utf-8")
    return {"crawled": params.items}


@handler("crawl-in-thread")
def crawl_in_thread(params: Count, ctx: JobContext) -> None:
    ctx.push_data([{"number": number} for number in range(params.items)])
    ctx.set_value("OUTPUT", {"from": "thread"})


@handler("crawl-twice")
async def crawl_twice(params: Count, ctx: JobContext) -> Any:
    ctx.push_data({"attempt": ctx.attempt})
    if ctx.attempt == 1:
        ctx.push_data({"attempt": "lost"})
        raise JobError("once more")


@handler("crawl-and-fail")
async def crawl_and_fail(params: Count, ctx: JobContext) -> Any:
    ctx.push_data({"kept": True})
    raise JobError("no luck", retryable=False)


@handler("crawl-too-much")
async def crawl_too_much(params: Count, ctx: JobContext) -> Any:
    while True:
        ctx.push_data("x" * 100_000)
        await asyncio.sleep(0)


@handler("many")
async def many(params: Count, ctx: JobContext) -> Any:
    return [{"number": number} for number in range(params.items)]


@handler("talker")
async def talker(params: Talk, ctx: JobContext) -> None:
    for number in range(params.lines):
        ctx.log.info("line %d", number + 1)
        await asyncio.sleep(params.pause_ms / 1000)
