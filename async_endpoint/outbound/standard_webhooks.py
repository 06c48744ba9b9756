"""Deliveries as Standard Webhooks describes them: who gets one, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..jobs.clock import iso, now_ms
from ..jobs.model import TERMINAL_STATUSES, Job, WebhookOptions
from .deliveries import Delivery
from .posting import Request
from .signing import decode_secret, signed_headers

if TYPE_CHECKING:
    from collections.abc import Sequence

TERMINAL_EVENTS = frozenset(f"job.{status}" for status in TERMINAL_STATUSES)
"""What a webhook is told about unless it names its events."""

_REPEATED = frozenset({"started", "retrying"})
"""Events that a job can have once for each attempt."""


def owed(receivers: Sequence[WebhookOptions], job: Job, event: str) -> Sequence[Delivery]:
    """The deliveries of one event of a job, to the given receivers and to those that its options name.

    Ids are made of the job, the event and the receiver's place, so the same event has the same ids.
    """
    if not (receivers or job.options.webhooks):
        return ()
    name = f"job.{event}"
    occasion = f"{event}-{job.attempt}" if event in _REPEATED else event
    return [
        _delivery(webhook, job, name, f"{job.id}-{occasion}-{place}")
        for place, webhook in enumerate((*receivers, *job.options.webhooks))
        if name in (TERMINAL_EVENTS if webhook.events is None else webhook.events)
    ]


def render(delivery: Delivery, snapshot: bytes, at: int) -> Request:
    """The request of an attempt: the event's type, its time, and the job as it stood then, signed."""
    body = b'{"type":"%b","timestamp":"%b","data":%b}' % (
        delivery.event.encode(),
        iso(delivery.at).encode(),
        snapshot,
    )
    key = None if delivery.secret is None else decode_secret(delivery.secret)
    signed = signed_headers(key, delivery.id, at // 1000, body)
    reserved = {"content-type", *signed}
    own = {name: value for name, value in delivery.headers.items() if name.lower() not in reserved}
    return Request({**own, "Content-Type": "application/json", **signed}, body)


def _delivery(webhook: WebhookOptions, job: Job, event: str, delivery_id: str) -> Delivery:
    at = job.finished_at or (job.created_at if event == "job.created" else now_ms())
    return Delivery(
        id=delivery_id,
        job_id=job.id,
        event=event,
        at=at,
        url=webhook.url,
        headers=webhook.headers or {},
        secret=webhook.secret,
        data=None if job.terminal else job.snapshot_json().decode(),
        due=at,
    )
