"""Machines that come and go over the key-value store of the platform's stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from async_endpoint.actor import records as records_module
from async_endpoint.actor import replica as replica_module
from tests.actor.machines import Machine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.actor.machines import Open
    from tests.platform.standin import StandIn


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short patience, so that tests of a failing API take a second and not ten."""
    monkeypatch.setattr(replica_module, "_PATIENCE", 0.5)
    monkeypatch.setattr(records_module, "_SECONDS", 0.3)
    monkeypatch.setattr("async_endpoint.actor.rebuild._READ_AGAIN_SECONDS", (0.01,))


@pytest.fixture
async def machine(tmp_path: Path, platform: StandIn, hasty: None) -> AsyncIterator[Open]:
    opened: list[Machine] = []

    async def new(*, wait: bool = True) -> Machine:
        made = Machine(tmp_path / str(len(opened)), platform, wait=wait)
        await made.start()
        opened.append(made)
        return made

    yield new
    for each in opened:
        await each.die()
