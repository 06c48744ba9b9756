"""Webhooks out, over HTTP: what was sent about a job, and sending it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import BACKEND
from .responses import json_value
from .tasks import job_of

if TYPE_CHECKING:
    from aiohttp import web


async def ledger(request: web.Request) -> web.Response:
    """GET /tasks/{jobId}/webhooks: every delivery with its attempts, oldest first."""
    deliveries = request.app[BACKEND].webhooks.ledger(job_of(request).id)
    return json_value({"items": [delivery.shown() for delivery in deliveries]})


async def redeliver(request: web.Request) -> web.Response:
    """POST /tasks/{jobId}/webhooks/{deliveryId}/redeliver."""
    job = job_of(request)
    delivery = await request.app[BACKEND].webhooks.redeliver(job.id, request.match_info["deliveryId"])
    return json_value(delivery.shown(), 202)
