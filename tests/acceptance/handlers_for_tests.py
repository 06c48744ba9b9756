"""Task types that behave well, badly and very badly; the service under test loads them by name."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from typing import Any

from pydantic import BaseModel

from async_endpoint.errors import JobError, RetryableResult
from async_endpoint.handlers import JobContext, handler


class Nothing(BaseModel):
    pass


class Millis(BaseModel):
    ms: int = 0


class Times(BaseModel):
    times: int = 1


class Talk(BaseModel):
    lines: int
    pause_ms: int = 0


class Fails(BaseModel):
    failures: int = 1
    message: str = "not yet"


@handler("raise")
async def fail(params: Fails, ctx: JobContext) -> Any:
    raise ValueError(params.message)


@handler("final-error")
async def fail_for_good(params: Nothing, ctx: JobContext) -> Any:
    raise JobError("this will never work", retryable=False)


@handler("flaky")
async def flaky(params: Fails, ctx: JobContext) -> Any:
    if ctx.attempt <= params.failures:
        raise JobError(params.message)
    return {"attempt": ctx.attempt}


@handler("flaky-result")
async def flaky_result(params: Fails, ctx: JobContext) -> Any:
    if ctx.attempt <= params.failures:
        raise RetryableResult({"last": ctx.attempt})
    return {"good": ctx.attempt}


@handler("system-exit")
async def leave(params: Nothing, ctx: JobContext) -> Any:
    raise SystemExit(3)


@handler("returns-nan")
async def returns_nan(params: Nothing, ctx: JobContext) -> Any:
    return {"number": float("nan")}


@handler("returns-surrogate")
async def returns_surrogate(params: Nothing, ctx: JobContext) -> Any:
    return "\ud800"


@handler("returns-object")
async def returns_object(params: Nothing, ctx: JobContext) -> Any:
    return {"object": object()}


@handler("returns-cycle")
async def returns_cycle(params: Nothing, ctx: JobContext) -> Any:
    cycle: list[Any] = []
    cycle.append(cycle)
    return cycle


@handler("returns-huge")
async def returns_huge(params: Nothing, ctx: JobContext) -> Any:
    return "x" * (5 * 1024 * 1024)


@handler("raises-badly")
async def raises_badly(params: Nothing, ctx: JobContext) -> Any:
    raise ValueError("\ud800 in a message " + "x" * 3_000_000)


@handler("thread-sleep")
def thread_sleep(params: Millis, ctx: JobContext) -> Any:
    time.sleep(params.ms / 1000)
    return {"thread": threading.current_thread() is not threading.main_thread()}


@handler("thread-stuck")
def thread_stuck(params: Nothing, ctx: JobContext) -> Any:
    threading.Event().wait()


@handler("thread-polite")
def thread_polite(params: Millis, ctx: JobContext) -> Any:
    while not ctx.cancelled:
        time.sleep(0.01)
    time.sleep(params.ms / 1000)
    ctx.log.info("cleaned up")


@handler("ignore-cancel")
async def ignore_cancel(params: Millis, ctx: JobContext) -> Any:
    end = time.monotonic() + params.ms / 1000
    while time.monotonic() < end:
        try:
            await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            ctx.log.info("asked to stop, going on")
    return "went on to the end"


@handler("slow-cleanup")
async def slow_cleanup(params: Millis, ctx: JobContext) -> Any:
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(params.ms / 1000)
        ctx.log.info("cleaned up")


@handler("hogger")
async def hogger(params: Millis, ctx: JobContext) -> Any:
    time.sleep(params.ms / 1000)


@handler("once", on_interrupt="fail")
async def once(params: Millis, ctx: JobContext) -> Any:
    await asyncio.sleep(params.ms / 1000)
    return ctx.attempt


@handler("crash")
async def crash(params: Millis, ctx: JobContext) -> Any:
    await asyncio.sleep(params.ms / 1000)
    os._exit(9)


@handler("span")
async def span(params: Millis, ctx: JobContext) -> Any:
    start = time.monotonic()
    await asyncio.sleep(params.ms / 1000)
    return {"start": start, "end": time.monotonic()}


@handler("chatty")
async def chatty(params: Times, ctx: JobContext) -> Any:
    for number in range(params.times):
        ctx.progress((number + 1) / params.times, f"step {number + 1}")
        ctx.log.info("line %d", number + 1)
        await asyncio.sleep(0)
    return params.times


@handler("talk")
async def talk(params: Talk, ctx: JobContext) -> Any:
    for number in range(params.lines):
        ctx.log.info("line %d", number + 1)
        await asyncio.sleep(params.pause_ms / 1000)
    return params.lines


@handler("step")
async def step(params: Millis, ctx: JobContext) -> Any:
    ctx.progress(0.25, "a quarter")
    await asyncio.sleep(params.ms / 1000)
    ctx.progress(message="nearly there")
    ctx.log.warning("look out: %s", "steep")
    return "stepped"


@handler("context")
async def context(params: Nothing, ctx: JobContext) -> Any:
    return {
        "jobId": ctx.job_id,
        "attempt": ctx.attempt,
        "deadline": ctx.deadline.isoformat() if ctx.deadline else None,
        "cancelled": ctx.cancelled,
        "maxSleepMs": ctx.settings.model_dump(by_alias=True)["maxSleepMs"],
    }
