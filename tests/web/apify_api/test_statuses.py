from __future__ import annotations

from typing import Any

import pytest

from async_endpoint.jobs.model import Job, JobOptions, JobStatus, RetryOptions
from async_endpoint.web.apify_api.statuses import run_status

RUNNING, FAILED = JobStatus.RUNNING, JobStatus.FAILED
TIMED = JobOptions.model_validate({"timeoutMs": 100})
TIMED_TWICE = TIMED.model_copy(update={"retry": RetryOptions.model_validate({"maxAttempts": 2})})


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ({}, "READY"),
        ({"attempt": 2}, "RUNNING"),
        ({"status": RUNNING}, "RUNNING"),
        ({"status": RUNNING, "cancel_requested": True}, "ABORTING"),
        ({"status": RUNNING, "started_at": 901, "options": TIMED}, "RUNNING"),
        ({"status": RUNNING, "started_at": 900, "options": TIMED}, "TIMING-OUT"),
        ({"status": RUNNING, "started_at": 900, "options": TIMED_TWICE}, "RUNNING"),
        ({"status": JobStatus.COMPLETED}, "SUCCEEDED"),
        ({"status": FAILED, "error_code": "handler-error"}, "FAILED"),
        ({"status": FAILED, "error_code": "interrupted"}, "FAILED"),
        ({"status": FAILED, "error_code": "timeout"}, "TIMED-OUT"),
        ({"status": JobStatus.CANCELLED, "cancel_requested": True}, "ABORTED"),
    ],
)
def test_run_status(state: dict[str, Any], status: str) -> None:
    assert run_status(Job("id", "echo", b"{}", created_at=0, **state), now=1000) == status
