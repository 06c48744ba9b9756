from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import pytest

from async_endpoint.jobs import watchdog as watchdog_module
from async_endpoint.jobs.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def watchdog(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Watchdog]:
    monkeypatch.setattr(watchdog_module, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(watchdog_module, "_BLOCKED_SECONDS", 0.3)
    made = Watchdog()
    yield made
    made.stop()


async def block_the_loop_for(seconds: float) -> None:
    time.sleep(seconds)


async def test_who_blocks_is_named_once_with_the_place(
    watchdog: Watchdog, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.create_task(block_the_loop_for(0.7), name="job 5 (greedy)")
    await asyncio.sleep(0.1)
    asyncio.get_running_loop().call_soon(time.sleep, 0.7)
    await asyncio.sleep(0.1)
    first, second = caplog.records
    assert first.levelno == logging.WARNING
    assert "blocked by job 5 (greedy);" in first.getMessage()
    assert "block_the_loop_for" in first.getMessage()
    assert "blocked by a callback;" in second.getMessage()


async def test_a_loop_that_turns_is_left_alone(watchdog: Watchdog, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(20):
        await asyncio.sleep(0.01)
    watchdog.stop()
    await asyncio.sleep(0.05)
    time.sleep(0.5)
    assert caplog.records == []
