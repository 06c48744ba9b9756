"""The service as a run whose containers die, and clients that remember what they were told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.platform.api import DATASET_ID, RUN_ID, STORE_ID
from tests.platform.standin import TOKEN, StandIn
from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
TERMINAL = ("completed", "failed", "cancelled")


class Run:
    """One Actor run: its containers come and go, each on an empty disk, its storages stay.

    Args:
        platform: The running stand-in.
        folder: Holds the disk and the log.
        settings: The Actor input.
        env: Further environment variables.
    """

    def __init__(
        self,
        platform: StandIn,
        folder: Path,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.platform = platform
        self.disk = folder / "disk"
        self.log = folder / "log.txt"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = env or {}
        self._process: asyncio.subprocess.Process | None = None
        platform.storage.put("INPUT", json.dumps(settings or {}).encode(), "application/json")

    @property
    def alive(self) -> bool:
        """Whether there is a container, and it runs."""
        return self._process is not None and self._process.returncode is None

    async def launch(self) -> None:
        """Start a container on an empty disk, without waiting for it."""
        assert self.platform.status == "RUNNING", "the run has ended: it gets no container any more"
        self.platform.migrating = False
        shutil.rmtree(self.disk, ignore_errors=True)
        self.disk.mkdir(parents=True)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "async_endpoint"),
                cwd=self.disk,
                env=self._environment(),
                stdout=log,
                stderr=log,
            )

    async def start(self, timeout: float = 30) -> float:
        """Start a container and wait until it is ready; returns the seconds that took."""
        began = time.monotonic()
        await self.launch()
        async with aiohttp.ClientSession() as session:
            while time.monotonic() - began < timeout:
                if not self.alive:
                    break
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(self.url + "/ready", timeout=aiohttp.ClientTimeout(1)) as answer:
                        if answer.status == 200:
                            return time.monotonic() - began
                await asyncio.sleep(0.02)
        raise AssertionError(f"the service did not become ready:\n{self.tail()}")

    async def kill(self) -> None:
        """The machine is gone. A process that ended with 0 before, while it was migrating, has ended the run."""
        if self._process is not None:
            if self.platform.migrating and self._process.returncode == 0:
                self.platform.status = "SUCCEEDED"
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self, sent: signal.Signals = signal.SIGTERM, timeout: float = 40) -> int:
        """Send a signal and return the exit code."""
        assert self._process is not None
        self._process.send_signal(sent)
        return await self.exit_code(timeout)

    async def exit_code(self, timeout: float = 40) -> int:
        """Wait for the container to end by itself."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), timeout)

    def tail(self, chars: int = 4000) -> str:
        """The end of the log."""
        return self.log.read_text(errors="replace")[-chars:] if self.log.exists() else ""

    def rows(self) -> list[dict[str, Any]]:
        """The items of the default dataset."""
        return [item for _, item in self.platform.storage.items]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("APIFY_", "ACTOR_"))}
        base = self.platform.url
        own = {
            "APIFY_IS_AT_HOME": "1",
            "APIFY_TOKEN": TOKEN,
            "APIFY_API_BASE_URL": base,
            "APIFY_API_PUBLIC_BASE_URL": base,
            "ACTOR_EVENTS_WEBSOCKET_URL": base.replace("http", "ws") + "/events",
            "ACTOR_RUN_ID": RUN_ID,
            "ACTOR_DEFAULT_KEY_VALUE_STORE_ID": STORE_ID,
            "ACTOR_DEFAULT_DATASET_ID": DATASET_ID,
            "ACTOR_WEB_SERVER_PORT": str(self.port),
            "ACTOR_WEB_SERVER_URL": self.url,
            "ACTOR_STANDBY_URL": "",
            "ACTOR_TIMEOUT_AT": "",
            "PYTHONPATH": str(ROOT),
        }
        return kept | own | self._pricing() | dict(self._env)

    def _pricing(self) -> dict[str, str]:
        """What the platform tells a container about prices."""
        if self.platform.pricing is None:
            return {}
        limit = self.platform.max_charge_usd
        return {
            "APIFY_ACTOR_PRICING_INFO": json.dumps(self.platform.pricing),
            "APIFY_CHARGED_ACTOR_EVENT_COUNTS": json.dumps(dict(self.platform.storage.charged)),
            "ACTOR_MAX_TOTAL_CHARGE_USD": "" if limit is None else str(limit),
        }


class Clients:
    """Clients that submit jobs without pause, through every outage, and remember what they were told.

    Attributes:
        accepted: Ids of all jobs that got a 202.
        regressions: What a client saw of a job that it should not have seen after what it saw before.
    """

    def __init__(self, run: Run, count: int = 16, seed: int = 1) -> None:
        self.accepted: list[str] = []
        self.regressions: list[str] = []
        self.refused: Counter[int] = Counter()
        self._run = run
        self._count = count
        self._dice = random.Random(seed)
        self._seen: dict[str, tuple[int, int]] = {}
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Clients:
        self._tasks = [asyncio.create_task(self._submit_and_look()) for _ in range(self._count)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _submit_and_look(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(15)) as session:
            while True:
                try:
                    await self._submit(session)
                    if self.accepted and self._dice.random() < 0.5:
                        await self.look(session, self._dice.choice(self.accepted[-200:]))
                except (aiohttp.ClientError, TimeoutError, ConnectionError):
                    await asyncio.sleep(0.05)

    async def _submit(self, session: aiohttp.ClientSession) -> None:
        sleep = {"type": "sleep", "ms": self._dice.choice((1, 20, 300))}
        task = sleep if self._dice.random() < 0.3 else {"payload": self._dice.random()}
        async with session.post(self._run.url + "/tasks", json=task) as answer:
            if answer.status == 202:
                self.accepted.append((await answer.json())["jobId"])
                return
        self.refused[answer.status] += 1
        await asyncio.sleep(0.05)

    async def look(self, session: aiohttp.ClientSession, job_id: str) -> str | None:
        """Read a job and compare it with what was seen of it before; returns its status."""
        before = self._seen.get(job_id, (0, 0))
        async with session.get(f"{self._run.url}/tasks/{job_id}") as answer:
            if answer.status >= 500:
                return None
            if answer.status != 200:
                self.regressions.append(f"{job_id}: answered {answer.status}")
                return None
            job = await answer.json()
        rank = (job["attempt"], 0 if job["status"] == "pending" else 2 if job["status"] in TERMINAL else 1)
        if rank < before:
            self.regressions.append(f"{job_id}: {rank} after {before}")
        self._seen[job_id] = max(rank, before)
        return str(job["status"])


async def unfinished(run: Run, clients: Clients, timeout: float = 30) -> list[str]:
    """The accepted jobs that are lost or do not end in time."""
    left = list(dict.fromkeys(clients.accepted))
    deadline = time.monotonic() + timeout
    async with aiohttp.ClientSession() as session:
        while left and time.monotonic() < deadline:
            statuses = [await clients.look(session, job_id) for job_id in left]
            left = [job_id for job_id, status in zip(left, statuses, strict=True) if status not in TERMINAL]
            await asyncio.sleep(0.1)
    return left


async def rows_of(run: Run, job_ids: list[str], timeout: float = 30) -> Counter[str]:
    """How often each job is in the dataset, once all of these are, or after the timeout."""
    deadline = time.monotonic() + timeout
    while True:
        counts = Counter(str(row["jobId"]) for row in run.rows())
        if not set(job_ids) - set(counts) or time.monotonic() > deadline:
            return counts
        await asyncio.sleep(0.1)
