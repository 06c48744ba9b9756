"""Fetch jobs against a bare client's loop, both asking the bare app.

`python fetching.py URL COUNT` is that loop; with a FILE as third argument it keeps each answer as a row of SQLite.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
import time
import uuid
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from durable import Rows
from figures import Figure, Floor
from load import BenchmarkError, Load, measure
from processes import Server, Service, running_service, running_yardstick, scratch_directory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAIRS = 5
WORKERS = 50
BATCH = 1000
BATCHES = 3


def fetch(_seconds: float) -> list[Figure]:
    """Requests per second of fetch jobs, from the first submission to the last row, and of the bare loops."""
    with running_yardstick() as target, running_service() as service, scratch_directory() as directory:
        rounds = [
            (
                loop_rate(target),
                loop_rate(target, str(directory / f"{number}.sqlite")),
                job_rate(service, target),
            )
            for number in range(PAIRS + 1)
        ][1:]
    bare, _, ours = (statistics.median(side) for side in zip(*rounds, strict=True))
    detail = (
        f"{ours:,.0f}/s each a job, committed and a row; a bare client with {WORKERS} workers {bare:,.0f}/s"
    )
    return [
        Figure("a row each, client, 50 at once", [kept / loop for loop, kept, _ in rounds], "of bare"),
        Figure("fetch, 50 at once", [job / loop for loop, _, job in rounds], "of bare", detail, Floor(0.5)),
    ]


def url_of(target: Server) -> str:
    """What is asked for."""
    return f"http://127.0.0.1:{target.port}/health"


def loop_rate(target: Server, *file: str) -> float:
    """Run the bare loop as a process of its own."""
    command = [sys.executable, __file__, url_of(target), str(BATCH * BATCHES), *file]
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


async def bare_loop(url: str, count: int, file: str | None = None) -> float:
    """Make the requests with `WORKERS` workers, and keep the answers where a file is named; returns the seconds."""
    unsent = iter(range(count))
    async with aiohttp.ClientSession() as session, rows_of(file) as rows:

        async def work() -> None:
            for _ in unsent:
                async with session.get(url) as response:
                    body = await response.read()
                    if rows is not None:
                        result = {
                            "status": response.status,
                            "headers": dict(response.headers),
                            "body": body.decode(),
                        }
                        await rows.add(str(uuid.uuid4()), json.dumps(result))

        started = time.perf_counter()
        await asyncio.gather(*(work() for _ in range(WORKERS)))
        return time.perf_counter() - started


@asynccontextmanager
async def rows_of(file: str | None) -> AsyncIterator[Rows | None]:
    """The rows of a file; None without one."""
    if file is None:
        yield None
        return
    rows = Rows(file)
    writer = asyncio.create_task(rows.write())
    yield rows
    writer.cancel()


if __name__ == "__main__":
    print(asyncio.run(bare_loop(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])))
