"""The longest that the Apify-compatible API lets a client wait."""

from __future__ import annotations

import time


async def test_a_start_is_answered_before_clients_send_it_again(make):
    """Whatever they ask for: they give up after 30 seconds, and then a second run would be born."""
    service = await make().start()
    async with service.client() as http:
        started = time.monotonic()
        reply = await http.post("/v2/acts/sleep/runs?waitForFinish=999999", {"ms": 600_000})
        assert 24 < time.monotonic() - started < 29.5
        assert (reply.status, reply.json()["data"]["status"]) == (201, "RUNNING")
