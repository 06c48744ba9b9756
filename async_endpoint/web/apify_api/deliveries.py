"""Ad-hoc webhooks of runs as deliveries: a source and a renderer for the ledger of webhooks."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from ...jobs.clock import iso
from ...outbound.deliveries import Delivery
from ...outbound.posting import Request
from . import run_model
from .formats import to_json
from .models import USER_ID
from .statuses import final_status
from .webhooks import RETRY_DELAYS_MS, TIMEOUT_MS, AdHocWebhook, event_type

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ...jobs.model import Job
    from ...outbound.webhooks import Webhooks

KIND = "apify"


def install(webhooks: Webhooks, surroundings: run_model.Surroundings) -> None:
    """Let the ledger know these webhooks; before the registry starts."""
    webhooks.sources.append(partial(owed, surroundings))
    webhooks.renderers[KIND] = render


def owed(surroundings: run_model.Surroundings, job: Job, event: str) -> Iterable[Delivery]:
    """The deliveries of one event of a job to the webhooks that its run was started with."""
    return _owed(surroundings, job, event) if job.notes else ()


def _owed(surroundings: run_model.Surroundings, job: Job, event: str) -> Iterator[Delivery]:
    declared = job.notes.get("webhooks") if job.notes else None
    name = _event_type(job, event) if declared else None
    if name is None:
        return
    for place, fields in enumerate(declared or ()):
        webhook = AdHocWebhook.model_validate(fields)
        if name in webhook.event_types:
            at = job.finished_at or job.created_at
            yield Delivery(
                id=f"{job.id}-run-{event}-{place}",
                job_id=job.id,
                event=name,
                at=at,
                url=webhook.request_url,
                kind=KIND,
                extra={"webhook": fields, "variables": _variables(job, name, at, surroundings)},
                delays_ms=() if webhook.do_not_retry else RETRY_DELAYS_MS,
                timeout_ms=TIMEOUT_MS,
                due=at,
            )


def render(delivery: Delivery, _snapshot: bytes, _at: int) -> Request:
    """The request of an attempt: the payload template with the run as it stood at the event."""
    webhook = AdHocWebhook.model_validate(delivery.extra["webhook"])
    variables = delivery.extra["variables"]
    headers = {
        **webhook.headers(variables),
        "Content-Type": "application/json; charset=utf-8",
        "X-Apify-Webhook": "true",
        "X-Apify-Webhook-Dispatch-Id": delivery.id,
        "X-Apify-Request-Origin": "WEBHOOK",
    }
    return Request(headers, to_json(webhook.payload(variables)))


def _event_type(job: Job, event: str) -> str | None:
    if event == "created":
        resurrected = "resurrections" in (job.notes or {})
        return "ACTOR.RUN.RESURRECTED" if resurrected else "ACTOR.RUN.CREATED"
    status = final_status(job)
    return None if status is None else event_type(status)


def _variables(job: Job, name: str, at: int, surroundings: run_model.Surroundings) -> dict[str, Any]:
    resource = run_model.run(job, surroundings).body()
    data = {"actorId": job.type, "actorRunId": run_model.run_id(job)}
    if resource.get("actorTaskId"):
        data["actorTaskId"] = resource["actorTaskId"]
    return {
        "userId": USER_ID,
        "createdAt": iso(at),
        "eventType": name,
        "eventData": data,
        "resource": resource,
        "globals": {"dateISO": iso(at), "dateUnix": at // 1000},
    }
