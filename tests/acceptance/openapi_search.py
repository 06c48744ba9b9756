"""schemathesis reads `/openapi.json` and tries a running service against it, with its checks."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.acceptance.service import TOKEN, Service

if TYPE_CHECKING:
    from collections.abc import Callable

SETTINGS = {
    "accessToken": TOKEN,
    "maxSleepMs": 20,
    "maxWaitTimeoutMs": 200,
    "maxConcurrentTasks": 50,
    "maxQueuedTasks": 1_000_000,
}
ONLY_BUILT_IN = {"ASYNC_ENDPOINT_HANDLERS": ""}  # one of the tests' own task types ends the process

# A key that was used for another task is answered with 422, which schemathesis does not expect by itself.
CONFIG = f"""
[auth.openapi.bearer]
bearer = "{TOKEN}"
[auth.openapi.apiKey]
api_key = "{TOKEN}"
[auth.openapi.token]
api_key = "{TOKEN}"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", 401, 403, 404, 409, 422, 429]
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
        *(
            "--checks",
            "all",
            "--exclude-checks",
            "use_after_free",
        ),  # DELETE ends a job, which then can still be read
        *("--request-timeout", "20", "--exclude-path", "/events", "--workers", "1"),
        *("--seed", "1", "--suppress-health-check", "all", "--no-color"),
        *options,
    ]
    return subprocess.run(
        command, cwd=service.storage, capture_output=True, text=True, check=False, timeout=900
    )
