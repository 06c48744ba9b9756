"""Load from many connections on a service that is killed again and again, and the account afterwards."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.acceptance.service import TERMINAL, Client, Service, progress_of

MAY_FAIL = (aiohttp.ClientError, ConnectionError, TimeoutError)


@dataclass
class Account:
    """What the clients were told: the furthest state of every acknowledged job."""

    told: dict[str, tuple[int, int]] = field(default_factory=dict)
    final: dict[str, bytes] = field(default_factory=dict)

    def note(self, snapshot: dict[str, Any], floor: tuple[int, int]) -> None:
        """Take in an answer to a request that was sent when `floor` had been told."""
        job_id, state = snapshot["jobId"], progress_of(snapshot)
        assert state >= floor, f"{job_id} went back from {floor} to {state}"
        self.told[job_id] = max(self.told.get(job_id, (0, 0)), state)
        if snapshot["status"] in TERMINAL:
            outcome = self.final.setdefault(job_id, snapshot["status"].encode())
            assert outcome == snapshot["status"].encode(), (
                f"{job_id} ended twice: {outcome!r}, {snapshot['status']}"
            )


class Load:
    """Clients that submit, wait and look, until `stop` is set; they live through every kill."""

    def __init__(self, service: Service, seed: int) -> None:
        self.service = service
        self.account = Account()
        self.stop = asyncio.Event()
        self._chance = random.Random(seed)

    async def run(self, connections: int) -> None:
        async with self.service.client(limit=connections) as http:
            await asyncio.gather(*(self._client(http) for _ in range(connections)))

    async def _client(self, http: Client) -> None:
        mine: list[str] = []
        while not self.stop.is_set():
            try:
                await self._act(http, mine)
            except MAY_FAIL:
                await asyncio.sleep(0.1)

    async def _act(self, http: Client, mine: list[str]) -> None:
        choice = self._chance.random()
        if choice < 0.35 or not mine:
            await self._submit(http, mine)
        elif choice < 0.7:
            await self._run_and_wait(http)
        else:
            await self._look(http, self._chance.choice(mine[-50:]), wait=choice < 0.8)

    def _task(self) -> dict[str, Any]:
        if self._chance.random() < 0.6:
            return {"payload": "x" * self._chance.randrange(200)}
        return {"type": "sleep", "ms": self._chance.randrange(1, 1500)}

    async def _submit(self, http: Client, mine: list[str]) -> None:
        reply = await http.post("/tasks", self._task())
        if reply.status == 202:
            job_id = reply.json()["jobId"]
            mine.append(job_id)
            self.account.told.setdefault(job_id, (1, 0))
            return
        await self._refused(reply.status, reply.body)

    async def _run_and_wait(self, http: Client) -> None:
        reply = await http.post("/run-and-wait?timeoutMs=500", self._task())
        if reply.status in (200, 202):
            self.account.note(reply.json(), (1, 0))
            return
        await self._refused(reply.status, reply.body)

    async def _look(self, http: Client, job_id: str, *, wait: bool) -> None:
        floor = self.account.told[job_id]
        if wait:
            reply = await http.post(f"/tasks/{job_id}/wait?timeoutMs=300")
        else:
            reply = await http.get(f"/tasks/{job_id}")
        if reply.status in (200, 202):
            self.account.note(reply.json(), floor)
            return
        await self._refused(reply.status, reply.body)

    async def _refused(self, status: int, body: bytes) -> None:
        assert status in (429, 503), (status, body[:500])
        await asyncio.sleep(0.05)


async def kill_again_and_again(service: Service, kills: int, connections: int = 64, seed: int = 1) -> Account:
    """Kill -9 one second after each start; ends with the service started once more and the load stopped."""
    await service.start()
    load = Load(service, seed)
    running = asyncio.create_task(load.run(connections))
    for _ in range(kills):
        await asyncio.sleep(1)
        assert not running.done() or running.result()
        await service.restart()
    load.stop.set()
    await running
    return load.account


async def settle(service: Service, account: Account, seconds: float = 30) -> None:
    """All that was acknowledged ends within `seconds` of the last start, and is one row each."""
    deadline = time.monotonic() + seconds
    async with service.client() as http:
        while open_jobs := await http.all_jobs("&status=pending") + await http.all_jobs("&status=running"):
            assert time.monotonic() < deadline, f"{len(open_jobs)} jobs still open, like {open_jobs[0]}"
            await asyncio.sleep(0.2)
        jobs = {job["jobId"]: job for job in await http.all_jobs()}
    assert account.told.keys() <= jobs.keys(), "acknowledged jobs are lost"
    for job_id, state in account.told.items():
        assert progress_of(jobs[job_id]) >= state
    for job_id, status in account.final.items():
        assert jobs[job_id]["status"].encode() == status
    rows = await service.rows_when(len(jobs), max(deadline - time.monotonic(), 5))
    await asyncio.sleep(0.5)
    rows = await asyncio.to_thread(service.rows)
    doubled = [job_id for job_id, times in Counter(row["jobId"] for row in rows).items() if times > 1]
    assert doubled == []
    assert {row["jobId"]: row for row in rows} == {
        job_id: {name: job[name] for name in row_fields(rows)} for job_id, job in jobs.items()
    }


def row_fields(rows: list[dict[str, Any]]) -> set[str]:
    return set(rows[0])
