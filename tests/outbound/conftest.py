"""A store and a receiver for the tests of webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.outbound.ledgers import opened
from tests.outbound.receiver import Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from async_endpoint.jobs.store import JobStore


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as one:
        yield one


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[JobStore]:
    async with opened(tmp_path) as one:
        yield one
