"""What the service holds and sustains: waiters, queued and terminal jobs, rows, and how soon it is there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from figures import Figure, Floor
from load import BenchmarkError, Load, measure
from processes import Service, running_service, running_yardstick
from throughput import ECHO

STARTS = 3
SLOTS = 50
WAITERS = 10_000
IDLE_SECONDS = 3.0
QUEUED_JOBS = 100_000
BATCH = 1000
FOREVER = {"type": "sleep", "ms": 600_000}


def start(_seconds: float) -> list[Figure]:
    """From the start of the process to its first answer on /health, over several starts."""
    health, ready, theirs = [], [], []
    for _ in range(STARTS):
        with running_yardstick() as bare:
            theirs.append(bare.start_seconds)
        with running_service() as service:
            health.append(service.start_seconds)
            ready.append(service.ready_seconds)
    return [
        Figure("start to first /health", health, "s"),
        Figure("  until it is ready", ready, "s"),
        Figure("  the bare app's", theirs, "s"),
    ]


def waiters(_seconds: float) -> list[Figure]:
    """10,000 clients wait for one job: what they cost while they wait, and how soon all know of its end."""
    with running_service() as service:
        job = service.post("/tasks", FOREVER)["jobId"]
        service.await_idle()
        before = service.memory()
        crowd = gather_crowd(service, job)
        try:
            service.await_idle()
            each = (service.memory() - before) / WAITERS
            idle = idle_cpu(service)
            seconds = release_crowd(service, job, crowd)
        finally:
            crowd.kill()
    return [
        Figure("10,000 waiters, end to last answer", [seconds], "s", floor=Floor(1, at_most=True)),
        Figure("  memory of each", [each], "B"),
        Figure("  CPU while they wait", [idle * 100], "%", floor=Floor(1, at_most=True)),
    ]


def gather_crowd(service: Service, job: str) -> subprocess.Popen[str]:
    """Start the waiters' process and return when all their requests are sent."""
    script = Path(__file__).with_name("waiters.py")
    command = [sys.executable, str(script), str(service.port), f"/tasks/{job}/wait", str(WAITERS)]
    crowd = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert crowd.stdout is not None
    if crowd.stdout.readline().strip() != "waiting":
        raise BenchmarkError("the waiters could not connect")
    return crowd


def idle_cpu(service: Service) -> float:
    """The service's use of one core, 0 to 1, while nothing happens."""
    before = service.cpu_seconds()
    time.sleep(IDLE_SECONDS)
    return (service.cpu_seconds() - before) / IDLE_SECONDS


def release_crowd(service: Service, job: str, crowd: subprocess.Popen[str]) -> float:
    """End the job; seconds from the request that ends it to the last waiter's answer."""
    ended_at = time.time()
    service.request("DELETE", f"/tasks/{job}")
    outcome = json.loads(crowd.communicate(timeout=60)[0])
    if outcome["statuses"] != {"200": WAITERS}:
        raise BenchmarkError(f"not every waiter was answered: {outcome['statuses']}")
    return float(outcome["lastAnswerAt"]) - ended_at


def queue(_seconds: float) -> list[Figure]:
    """100,000 jobs behind busy slots: what each costs; then how fast they run and become rows."""
    with running_service() as service:
        sleepers = [service.post("/tasks", FOREVER)["jobId"] for _ in range(SLOTS)]
        service.await_idle()
        before = service.memory()
        fill_queue(service)
        service.await_idle()
        each = (service.memory() - before) / QUEUED_JOBS
        started = time.monotonic()
        with ThreadPoolExecutor(SLOTS) as clients:
            list(clients.map(lambda job: service.request("DELETE", f"/tasks/{job}"), sleepers))
        service.await_drained()
        rate = service.jobs / (time.monotonic() - started)
    return [
        Figure("memory of a queued job", [each], "B", f"{QUEUED_JOBS:,} queued", Floor(900, at_most=True)),
        Figure("rows from a full queue", [rate], "rows/s", "each run, committed and a row", Floor(5000)),
    ]


def fill_queue(service: Service) -> None:
    """Queue the jobs in batches and make sure that they wait."""
    batch = "[" + ",".join([ECHO] * BATCH) + "]"
    load = Load(port=service.port, path="/tasks/batch", body=batch, expect=202, requests=QUEUED_JOBS // BATCH)
    measure(load)
    service.jobs += QUEUED_JOBS
    if (queued := service.queued()) != QUEUED_JOBS:
        raise BenchmarkError(f"{queued} jobs are queued instead of {QUEUED_JOBS}")


def sustained(seconds: float) -> list[Figure]:
    """Jobs from the first request to the last row, over a long slice and its drain; the memory of each."""
    with running_service() as service:
        service.await_idle()
        before = service.memory()
        result = measure(
            Load(port=service.port, path="/tasks", body=ECHO, expect=202, connections=64, seconds=seconds * 5)
        )
        service.jobs += result.answered
        drain = service.await_drained()
        rate = service.jobs / (time.time() - result.started_at)
        service.await_idle()
        each = (service.memory() - before) / service.jobs
    detail = f"{result.answered:,} jobs, p99 {result.p99:.1f} ms, drain {drain:.2f} s included"
    return [
        Figure("sustained, with rows and fsync", [rate], "jobs/s", detail),
        Figure("memory of a terminal job", [each], "B"),
    ]
