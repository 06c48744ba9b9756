"""Thousands of malformed requests: no 5xx, no job, no harm."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.acceptance.malformed import malformed
from tests.acceptance.raw import exchange

if TYPE_CHECKING:
    from tests.acceptance.service import Service

SUBMITS = (b"POST /tasks ", b"POST /run-and-wait", b"POST /tasks/batch ")


async def _send(service: Service, count: int, seed: int) -> Counter[int | None]:
    """Statuses of the answers; fails on each 5xx and each acceptance, naming the requests."""
    statuses: Counter[int | None] = Counter()
    wrong: list[tuple[int, bytes]] = []
    gate = asyncio.Semaphore(16)

    async def one(raw: bytes) -> None:
        async with gate:
            try:
                status = await exchange(service.port, raw, seconds=2)
            except TimeoutError:
                status = None  # it waits for the rest of a request that never comes whole
        statuses[status] += 1
        if status and (status >= 500 or (status < 300 and raw.startswith(SUBMITS))):
            wrong.append((status, raw[:500]))

    await asyncio.gather(*(one(raw) for raw in malformed(count, seed)))
    assert wrong == []
    return statuses


async def _unharmed(service: Service, count: int, seed: int) -> None:
    async with service.client() as http:
        await http.run({"payload": "before"})
        process = psutil.Process(service.process.pid)
        memory, files = process.memory_info().rss, process.num_fds()
        statuses = await _send(service, count, seed)
        assert statuses[400] > count / 4
        assert len(await http.all_jobs()) == 1
        assert (await http.run({"payload": "after"}))["status"] == "completed"
        await asyncio.sleep(0.5)
        assert process.num_fds() < files + 20
        assert process.memory_info().rss < memory + 150 * 2**20
    assert "Traceback" not in service.log, service.log[service.log.index("Traceback") :][:3000]


async def test_malformed_requests(make):
    await _unharmed(await make().start(), 240, seed=1)


@pytest.mark.soak
@pytest.mark.timeout(600)
async def test_two_thousand_malformed_requests(make):
    await _unharmed(await make().start(), 2000, seed=2)
