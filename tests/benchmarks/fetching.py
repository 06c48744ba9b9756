"""Fetch jobs against a bare client's loop, both asking the bare app. `python fetching.py URL COUNT` is that loop."""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time

import aiohttp
from figures import Figure, Floor
from load import BenchmarkError, Load, measure
from processes import Server, Service, running_service, running_yardstick

PAIRS = 5
WORKERS = 50
BATCH = 1000
BATCHES = 3


def fetch(_seconds: float) -> list[Figure]:
    """Requests per second of fetch jobs, from the first submission to the last row, and of the bare loop."""
    with running_yardstick() as target, running_service() as service:
        pairs = [(loop_rate(target), job_rate(service, target)) for _ in range(PAIRS + 1)][1:]
    theirs, ours = (statistics.median(side) for side in zip(*pairs, strict=True))
    detail = (
        f"{ours:,.0f}/s each a job, committed and a row; a bare client with {WORKERS} workers {theirs:,.0f}/s"
    )
    return [Figure("fetch, 50 at once", [job / loop for loop, job in pairs], "of bare", detail, Floor(0.5))]


def url_of(target: Server) -> str:
    """What is asked for."""
    return f"http://127.0.0.1:{target.port}/health"


def loop_rate(target: Server) -> float:
    """Run the bare loop as a process of its own."""
    command = [sys.executable, __file__, url_of(target), str(BATCH * BATCHES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise BenchmarkError(done.stderr.strip().splitlines()[-1])
    return BATCH * BATCHES / float(done.stdout)


def job_rate(service: Service, target: Server) -> float:
    """Submit the jobs in batches and wait for their rows."""
    batch = json.dumps([{"type": "fetch", "url": url_of(target)}] * BATCH)
    load = Load(port=service.port, path="/tasks/batch", body=batch, expect=202, requests=BATCHES)
    started_at = measure(load).started_at
    service.jobs += BATCH * BATCHES
    service.await_drained()
    return BATCH * BATCHES / (time.time() - started_at)


async def bare_loop(url: str, count: int) -> float:
    """Make the requests with `WORKERS` workers; returns the seconds they took."""
    unsent = iter(range(count))
    async with aiohttp.ClientSession() as session:

        async def work() -> None:
            for _ in unsent:
                async with session.get(url) as response:
                    await response.read()

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(WORKERS)))
        return time.perf_counter() - started


if __name__ == "__main__":
    print(asyncio.run(bare_loop(sys.argv[1], int(sys.argv[2]))))
