"""Scenarios of the Apify-compatible API that mostly sleep; `long_waits.py` runs them beside the other tests."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.service import Service


async def a_start_is_answered_before_clients_send_it_again(make: Callable[..., Service]) -> None:
    """Whatever they ask for: they give up after 30 seconds, and then a second run would be born."""
    service = await make().start()
    async with service.client() as http:
        started = time.monotonic()
        reply = await http.post("/v2/acts/sleep/runs?waitForFinish=999999", {"ms": 600_000})
        assert 24 < time.monotonic() - started < 28
        assert (reply.status, reply.json()["data"]["status"]) == (201, "RUNNING")
