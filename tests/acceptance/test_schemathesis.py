"""The long search through `/openapi.json`; a short one is among the long waits."""

from __future__ import annotations

import pytest

from tests.acceptance.openapi_search import finds_nothing


@pytest.mark.soak
@pytest.mark.timeout(900)
async def test_schemathesis_finds_nothing_in_a_long_search(make):
    await finds_nothing(make, "--max-examples", "60")
