from __future__ import annotations

from typing import Any

import pytest

from async_endpoint.jobs.model import Job, JobOptions, JobStatus, RetryOptions
from async_endpoint.web.apify_api.statuses import run_status

RUNNING, FAILED = JobStatus.RUNNING, JobStatus.FAILED
TIMED = JobOptions.model_validate({"timeoutMs": 100})
TIMED_TWICE = TIMED.model_copy(update={"retry": RetryOptions.model_validate({"maxAttempts": 2})})


def job(**state: Any) -> Job:
    return Job("id", "echo", b"{}", created_at=0, **state)


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
    assert run_status(job(**state), 1000, None) == status


@pytest.mark.parametrize(("started_at", "status"), [(900, "TIMING-OUT"), (901, "RUNNING")])
def test_the_timeout_of_all_jobs_counts_as_their_own(started_at: int, status: str) -> None:
    assert run_status(job(status=RUNNING, started_at=started_at), 1000, 100) == status
    longer = JobOptions.model_validate({"timeoutMs": 200})
    assert run_status(job(status=RUNNING, started_at=started_at, options=longer), 1000, 100) == "RUNNING"


def test_an_interrupted_attempt_is_no_try() -> None:
    again = {"status": RUNNING, "started_at": 900, "options": TIMED_TWICE, "attempt": 2}
    assert run_status(job(**again), 1000, None) == "TIMING-OUT"
    assert run_status(job(**again, interruptions=1), 1000, None) == "RUNNING"
