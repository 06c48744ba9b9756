from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from async_endpoint.jobs.store import JobStore
from tests.jobs.virtual import WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def wall() -> WallClock:
    return WallClock()


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JobStore]:
    opened = JobStore(tmp_path / "jobs.sqlite")
    await opened.open()
    yield opened
    await opened.close()
