"""Webhooks at work on a store of their own, and jobs whose transitions owe something."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from async_endpoint.jobs.clock import JobIds, now_ms
from async_endpoint.jobs.database import Change
from async_endpoint.jobs.model import Job, JobOptions, JobStatus, WebhookOptions
from async_endpoint.jobs.records import encode
from async_endpoint.jobs.store import JobStore
from async_endpoint.outbound.deliveries import Delivery
from async_endpoint.outbound.session import open_session
from async_endpoint.outbound.webhooks import Webhooks
from tests.outbound.receiver import SECRET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

DELAYS = (60, 120, 240, 480)
ids = JobIds()


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[JobStore]:
    store = JobStore(folder / "jobs.sqlite")
    await store.open()
    yield store
    await store.close()


@asynccontextmanager
async def sending(store: JobStore, **more: Any) -> AsyncIterator[Webhooks]:
    """Webhooks at work on a store, stopped at once at the end."""
    async with open_session(allow_private=more.pop("allow_private", True), user_agent="tests") as session:
        webhooks = Webhooks(store, session, **{"delays_ms": DELAYS, **more})
        webhooks.start()
        yield webhooks
        await webhooks.stop(0)


def hook(url: str, **more: Any) -> WebhookOptions:
    return WebhookOptions.model_validate_json(json.dumps({"url": url, "secret": SECRET, **more}))


def ended(*hooks: WebhookOptions, **more: Any) -> Job:
    at = now_ms()
    job = Job(ids(), "echo", b'{"type":"echo"}', at, JobOptions(webhooks=hooks))
    done = {"status": JobStatus.COMPLETED, "finished_at": at, "result": b'{"a":"\xc3\xa9"}', "row": 1}
    return job.evolve(**{**done, **more})


async def happen(store: JobStore, webhooks: Webhooks, job: Job, event: str = "completed") -> Job:
    """A transition, as the registry makes it."""
    changes = [Change("jobs", job.id, encode(job)), *webhooks.changes(job, event)]
    await store.write(changes, lambda: webhooks.committed(job, event)).settled()
    return job


async def settled(webhooks: Webhooks, job: Job, seconds: float = 10) -> list[Delivery]:
    """The job's ledger once nothing about it is owed."""
    async with asyncio.timeout(seconds):
        while webhooks.owes(job.id):
            await asyncio.sleep(0.01)
    return webhooks.ledger(job.id)


def statuses(delivery: Delivery) -> list[int | None]:
    return [attempt.status for attempt in delivery.attempts]


def owed(job: Job, url: str, **more: Any) -> Delivery:
    return Delivery(
        **{"id": f"{job.id}-x", "job_id": job.id, "event": "e", "at": 1, "url": url, "due": 1, **more}
    )
