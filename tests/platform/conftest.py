"""Runs on the platform's stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.platform.harness import Run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.platform.standin import StandIn


@pytest.fixture
async def launch(platform: StandIn, tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes and starts a run; whatever is left of it is killed afterwards."""
    runs: list[Run] = []

    async def start(settings: dict[str, Any] | None = None, **env: str) -> Run:
        run = Run(platform, tmp_path / str(len(runs)), settings, env)
        runs.append(run)
        run.log.parent.mkdir()
        await run.start()
        return run

    yield start
    for run in runs:
        await run.kill()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)) as session:
        yield session
