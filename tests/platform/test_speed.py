"""What the replica costs: one write for a job alone, batches under load, and a start with many jobs."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import aiohttp
import pytest

from async_endpoint.actor.records import Records
from async_endpoint.actor.replica import Replica
from async_endpoint.jobs.clock import JobIds, now_ms
from async_endpoint.jobs.database import Database
from async_endpoint.jobs.model import Job, JobStatus
from async_endpoint.jobs.records import encode
from tests.platform.api import STORE_ID
from tests.platform.harness import ROOT, Run
from tests.platform.standin import TOKEN, StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.bench

ENDED, OPEN = 100_000, 10_000
IDS = JobIds()


@pytest.fixture
def platform() -> Iterator[StandIn]:
    with StandIn(latency=0.02) as standin:
        yield standin


async def post(session: aiohttp.ClientSession, run: Run) -> None:
    headers = {"Content-Type": "application/json"}
    async with session.post(run.url + "/tasks", data=b'{"payload":1}', headers=headers) as answer:
        assert answer.status == 202, await answer.text()


@pytest.fixture
def distant_platform() -> Iterator[StandIn]:
    """A stand-in in a process of its own, so that it takes no time from the clients. Only its address is of use."""
    command = [sys.executable, "-m", "tests.platform.standin", "--latency-ms", "20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    address = StandIn()
    address.port = int(process.stdout.readline())
    yield address
    process.kill()
    process.wait()
    process.stdout.close()


async def test_a_job_alone_costs_one_write_and_many_share_theirs(
    distant_platform: StandIn, tmp_path: Path
) -> None:
    run = Run(distant_platform, tmp_path)
    await run.start()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        rounds = [[await _timed(post(session, run)) for _ in range(50)] for _ in range(3)]
        rate = await _rate(session, run, connections=64, seconds=5)
    await run.kill()
    median = min(map(statistics.median, rounds))
    print(f"\n202 alone: {median * 1000:.1f} ms; 64 connections: {rate:.0f}/s")
    assert median < 0.030
    assert rate > 10 / median, "throughput is bound by round trips"


async def test_a_start_with_many_jobs_takes_less_than_five_seconds(platform: StandIn, tmp_path: Path) -> None:
    platform.latency = 0.0
    await _fill(platform, tmp_path / "fill")
    platform.latency = 0.02
    run = Run(platform, tmp_path)
    seconds = await run.start()
    async with aiohttp.ClientSession() as session, session.get(run.url + "/health") as answer:
        health = await answer.json()
    await run.kill()
    print(f"\nstart with {ENDED:,} ended and {OPEN:,} open jobs: {seconds:.1f} s")
    assert health["queued"] + health["activeTasks"] == OPEN
    assert seconds < 5


async def _timed(work: object) -> float:
    began = time.perf_counter()
    await work  # type: ignore[misc]
    return time.perf_counter() - began


async def _rate(session: aiohttp.ClientSession, run: Run, *, connections: int, seconds: float) -> float:
    """Jobs accepted in a second."""
    stop = time.monotonic() + seconds
    accepted = 0

    async def client() -> None:
        nonlocal accepted
        while time.monotonic() < stop:
            await post(session, run)
            accepted += 1

    await asyncio.gather(*(client() for _ in range(connections)))
    return accepted / seconds


async def _fill(platform: StandIn, folder: Path) -> None:
    """Put the jobs into the replica: most in a snapshot, the rest in segments."""
    replica = Replica(Records(TOKEN, platform.url, STORE_ID))
    database = Database(folder / "jobs.sqlite", disposable=True)
    await replica.restore(database.path)
    database.open()
    for start in range(0, ENDED + OPEN, 1000):
        jobs = [_job(n) for n in range(start, start + 1000)]
        changes: dict[tuple[str, str], bytes | None] = {("jobs", job.id): encode(job) for job in jobs}
        changes["meta", "rowsWritten"] = b"%d" % min(start + 1000, ENDED)
        number = await replica.append(changes)
        database.apply(changes | {("meta", "journalSequence"): b"%d" % number})
        if start == 80_000:
            replica._copy = database.copy
            await replica._compact(database.copy)
            replica._copy = None
    database.close()


def _job(n: int) -> Job:
    payload = {"n": n, "text": f"the payload of client {n * 7919 % 1_000_003}", "list": [1, 2, 3]}
    job = Job(IDS(), "echo", json.dumps({"payload": payload}).encode(), now_ms())
    if n >= ENDED:
        return job.evolve(type="sleep", task=b'{"type":"sleep","ms":600000}')
    result = json.dumps({"taskType": "echo", "payload": payload}).encode()
    end = {"status": JobStatus.COMPLETED, "started_at": now_ms(), "finished_at": now_ms()}
    return job.evolve(result=result, row=n + 1, **end)
