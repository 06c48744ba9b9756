"""Searches through `/openapi.json`: a short one, and a long one."""

from __future__ import annotations

import pytest

from tests.acceptance.openapi_search import finds_nothing


async def test_schemathesis_finds_nothing(make):
    await finds_nothing(make, "--max-examples", "3", "--no-shrink")


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_schemathesis_finds_nothing_in_a_long_search(make):
    await finds_nothing(make, "--max-examples", "60")
