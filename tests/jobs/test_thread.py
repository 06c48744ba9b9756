from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import pytest

from async_endpoint.jobs.thread import WorkThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def thread() -> AsyncIterator[WorkThread]:
    made = WorkThread("worker")
    yield made
    made.close()


async def test_calls_are_made_in_order_on_the_same_other_thread(thread: WorkThread) -> None:
    seen: list[tuple[int, str]] = []

    def work(number: int) -> None:
        time.sleep(0.002 * (5 - number))
        seen.append((number, threading.current_thread().name))

    await asyncio.gather(*(thread.call(work, number) for number in range(5)))
    assert seen == [(number, "worker") for number in range(5)]


async def test_a_call_blocks_only_those_who_wait_for_it(thread: WorkThread) -> None:
    gate = threading.Event()
    waiting = asyncio.create_task(thread.call(gate.wait, 5))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    gate.set()
    await asyncio.wait_for(waiting, 5)


async def test_what_a_call_raises_reaches_its_caller_and_no_other(thread: WorkThread) -> None:
    def fail() -> None:
        raise OSError("disk full")

    results = await asyncio.gather(
        thread.call(int), thread.call(fail), thread.call(int), return_exceptions=True
    )
    assert [repr(result) for result in results] == ["None", "OSError('disk full')", "None"]


async def test_a_caller_that_goes_away_hurts_nobody(
    thread: WorkThread, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    gone = asyncio.create_task(thread.call(gate.wait, 5))
    await asyncio.sleep(0.01)
    gone.cancel()
    gate.set()
    await asyncio.wait_for(thread.call(int), 5)
    assert gone.cancelled()
    assert caplog.records == []


async def test_close_waits_for_what_was_begun() -> None:
    thread, done = WorkThread("worker"), list[int]()

    def work(number: int) -> None:
        time.sleep(0.01)
        done.append(number)

    calls = [asyncio.create_task(thread.call(work, number)) for number in range(3)]
    await asyncio.sleep(0)
    thread.close()
    assert done == [0, 1, 2]
    await asyncio.gather(*calls)


def test_a_call_that_outlives_its_loop_ends_quietly() -> None:
    gate = threading.Event()

    async def leave() -> WorkThread:
        thread = WorkThread("worker")
        call = asyncio.create_task(thread.call(gate.wait, 5))
        await asyncio.sleep(0.01)
        call.cancel()
        return thread

    thread = asyncio.run(leave())
    gate.set()
    thread.close()
    assert not thread._thread.is_alive()
