"""Collects the scenarios that have run beside the other tests since the first of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.long_waits import SCENARIOS

if TYPE_CHECKING:
    from concurrent.futures import Future


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_long_wait(scenario: str, long_waits: dict[str, Future[None]]):
    long_waits[scenario].result(timeout=100)
