"""`kill -9` under load: every acknowledged job ends once, is one row, and nobody saw it go backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.kill_loop import kill_again_and_again, settle

if TYPE_CHECKING:
    from tests.acceptance.service import Service

SETTINGS = {"maxConcurrentTasks": 50}


async def test_killed_twice_under_load(make):
    service: Service = make(SETTINGS)
    account = await kill_again_and_again(service, kills=2)
    assert len(account.told) > 100
    await settle(service, account)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_killed_thirty_times_under_load(make):
    service: Service = make(SETTINGS)
    account = await kill_again_and_again(service, kills=30, seed=30)
    assert len(account.told) > 1000
    await settle(service, account)
