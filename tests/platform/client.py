"""What a client does, and what a test changes in the service."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

from tests.platform.harness import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import aiohttp

    from tests.platform.harness import Run


async def submit(http: aiohttp.ClientSession, run: Run, task: dict[str, Any]) -> str:
    async with http.post(run.url + "/tasks", json=task) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["jobId"])


async def read(http: aiohttp.ClientSession, run: Run, job_id: str) -> dict[str, Any]:
    async with http.get(f"{run.url}/tasks/{job_id}") as answer:
        assert answer.status == 200, await answer.text()
        job: dict[str, Any] = await answer.json()
        return job


async def ended(http: aiohttp.ClientSession, run: Run, job_id: str) -> dict[str, Any]:
    async with http.post(f"{run.url}/tasks/{job_id}/wait?timeoutMs=10000") as answer:
        assert answer.status == 200, await answer.text()
        job: dict[str, Any] = await answer.json()
        return job


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


def patched(tmp_path: Path, *lines: str) -> dict[str, str]:
    """Environment variables that run these lines in the service before it starts."""
    (tmp_path / "patches.py").write_text("\n".join(lines))
    return {"ASYNC_ENDPOINT_HANDLERS": "patches", "PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}
