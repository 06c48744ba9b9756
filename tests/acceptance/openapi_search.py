"""schemathesis reads `/openapi.json` and tries a running service against it, with all its checks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance.service import TOKEN, Service

if TYPE_CHECKING:
    from collections.abc import Callable

# Jobs and waits are short, since a made-up request may well ask for hours; the queue takes all that is submitted;
# fetch tasks are taken, but reach nobody.
SETTINGS = {
    "accessToken": TOKEN,
    "allowFetchTasks": True,
    "fetchAllowedHosts": ["nobody.invalid"],
    "maxSleepMs": 20,
    "maxWaitTimeoutMs": 200,
    "maxConcurrentTasks": 50,
    "maxQueuedTasks": 1_000_000,
}
ONLY_BUILT_IN = {"ASYNC_ENDPOINT_HANDLERS": ""}  # one of the tests' own task types ends the process

# No chain of requests leads through DELETE: it cancels a job, which then can still be read, and the check
# `use_after_free` allows nothing but 404 after a DELETE. POST …/cancel, which does the same, is in the chains.
# The stream of all transitions never ends; schemathesis reads it until the time for a request is over.
CONFIG = """
[[operations]]
include-name = "DELETE /tasks/{jobId}"
phases.stateful.enabled = false
[[operations]]
include-name = "GET /events"
request-timeout = 2
"""


async def finds_nothing(make: Callable[..., Service], *options: str) -> None:
    """schemathesis must end without a finding, and the service without a traceback in its log."""
    service: Service = await make(SETTINGS, env=ONLY_BUILT_IN).start()
    found = await asyncio.to_thread(_schemathesis, service, *options)
    assert found.returncode == 0, found.stdout[-12000:] + found.stderr[-2000:]
    assert "Traceback" not in service.log


def _schemathesis(service: Service, *options: str) -> subprocess.CompletedProcess[str]:
    (service.storage / "schemathesis.toml").write_text(CONFIG)
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"),
        *("--checks", "all", "--header", f"Authorization: Bearer {TOKEN}", "--request-timeout", "20"),
        *("--seed", "1", "--no-color"),
        *options,
    ]
    return subprocess.run(
        command, cwd=service.storage, capture_output=True, text=True, check=False, timeout=900
    )
