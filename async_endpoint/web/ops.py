"""What operators and programs ask about the service itself."""

from __future__ import annotations

from aiohttp import web

from .. import __version__
from ..errors import Draining, Starting, StoreUnavailable
from ..outbound.webhooks import AttemptOutcome
from . import prometheus
from .backend import BACKEND
from .responses import json_value

SERVICE = "async-endpoint"
PROBE_HEADER = "x-apify-container-server-readiness-probe"


async def health(request: web.Request) -> web.Response:
    """GET /health: the process lives."""
    backend = request.app[BACKEND]
    registry = backend.registry if backend.ready else None
    return json_value(
        {
            "ok": True,
            "service": SERVICE,
            "version": __version__,
            "activeTasks": registry.running if registry else 0,
            "queued": registry.queued if registry else 0,
            "draining": registry.draining if registry else False,
        }
    )


async def ready(request: web.Request) -> web.Response:
    """GET /ready: jobs are accepted."""
    backend = request.app[BACKEND]
    if not backend.ready:
        raise Starting
    if backend.registry.draining:
        raise Draining
    if not backend.store.writable:
        raise StoreUnavailable
    return json_value({"ready": True})


def is_probe(request: web.Request) -> bool:
    """Whether the platform asks for readiness."""
    return PROBE_HEADER in request.headers


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics."""
    backend = request.app[BACKEND]
    registry, measured = backend.registry, backend.metrics
    jobs = [
        ({"status": status, "type": task_type}, count)
        for (status, task_type), count in sorted(measured.jobs.items())
    ]
    text = prometheus.render(
        [
            prometheus.counter(
                "async_endpoint_jobs_total", "Jobs that entered a status, by status and type.", *jobs
            ),
            prometheus.gauge("async_endpoint_jobs_running", "Jobs that hold a slot.", ({}, registry.running)),
            prometheus.gauge("async_endpoint_jobs_queued", "Jobs that wait to start.", ({}, registry.queued)),
            prometheus.gauge(
                "async_endpoint_slots",
                "Jobs that may run at once.",
                ({}, backend.settings.max_concurrent_tasks),
            ),
            prometheus.gauge(
                "async_endpoint_oldest_pending_seconds",
                "Age of the oldest pending job.",
                ({}, registry.oldest_pending_age()),
            ),
            prometheus.histogram("async_endpoint_queue_seconds", "From due to started.", measured.queue_time),
            prometheus.histogram("async_endpoint_run_seconds", "Run time of attempts.", measured.run_time),
            prometheus.histogram(
                "async_endpoint_wake_up_seconds",
                "From the commit of a job's end until a waiter's answer was written.",
                measured.wake_up,
            ),
            prometheus.histogram(
                "async_endpoint_commit_changes", "Changes of a store commit.", measured.commit_size
            ),
            prometheus.gauge(
                "async_endpoint_webhook_deliveries_open",
                "Deliveries to webhooks that are still to be made.",
                ({}, backend.webhooks.open),
            ),
            prometheus.counter(
                "async_endpoint_webhook_attempts_total",
                "Attempts of deliveries to webhooks by outcome.",
                *(({"outcome": str(one)}, backend.webhooks.attempts[one]) for one in AttemptOutcome),
            ),
            *(prometheus.gauge(name, text, ({}, value())) for name, text, value in measured.gauges),
            *(prometheus.counter(name, text, ({}, value())) for name, text, value in measured.counters),
        ]
    )
    return web.Response(body=text.encode(), headers={"Content-Type": prometheus.CONTENT_TYPE})
