"""The native API as a table of routes."""

from __future__ import annotations

from typing import Any

from . import discovery, hooks, ops, page, streams, tasks, webhooks
from .routes import Route, always


def _parameter(name: str, where: str, schema: dict[str, Any], text: str) -> dict[str, Any]:
    return {"name": name, "in": where, "required": False, "schema": schema, "description": text}


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _json(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": _reference(schema)}}}


# In words: a parameter would promise that each key goes with each body, which no schema can take back.
_KEY = (
    "A request with the header `Idempotency-Key` (1 to 255 visible ASCII characters) can be repeated: the same key "
    "and the same content give the first answer's jobs again; other content under the same key gets a 422."
)
_TASK_BODY = {
    "required": True,
    "description": _KEY,
    "content": {"application/json": {"schema": _reference("Task")}},
}
_BATCH_BODY = {
    "required": True,
    "description": _KEY,
    "content": {
        "application/json": {
            "schema": {"type": "array", "items": _reference("Task"), "minItems": 1, "maxItems": 1000}
        },
        "application/x-ndjson": {"schema": {"type": "string", "description": "One task a line."}},
    },
}
_HOOK_BODY = {
    "required": False,
    "description": _KEY,
    "content": {"application/json": {"schema": {}}, "text/plain": {"schema": {"type": "string"}}},
}
_WAIT_BODY = {
    "required": False,
    "content": {
        "application/json": {
            "schema": {
                "type": ["object", "null"],
                "properties": {"timeoutMs": {"type": ["number", "null"]}},
            },
        }
    },
}
_TIMEOUT = _parameter("timeoutMs", "query", {"type": "number"}, "How long to wait, in milliseconds; clamped.")
_HEARTBEAT = _parameter(
    "heartbeatMs",
    "query",
    {"type": "integer", "minimum": 1000, "maximum": 3_600_000},
    "Begin a 200 at once and send white space at this interval until the snapshot is there.",
)
_PREFER = _parameter("Prefer", "header", {"type": "string"}, "`wait=N` waits up to N seconds (RFC 7240).")
_SNAPSHOT = _json("The job has ended.", "Snapshot")
_UNFINISHED = _json("The job has not ended yet.", "Snapshot")
_RECEIPT = _json("The job is accepted, and on disk.", "Receipt")
_STREAM = {
    "description": "Events as they come.",
    "content": {"text/event-stream": {}},
}

_ACCEPT_ERRORS = {
    402: "The cost limit is reached.",
    403: "The settings do not allow this task type.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The Idempotency-Key was used for another task.",
    429: "The queue is full; Retry-After says when to come back.",
}

ROUTES: list[Route] = [
    Route(
        method="GET",
        path="/",
        handler=page.root,
        name="discover",
        summary="What is here; a page where HTML is preferred",
        answers={200: _json("The service, its routes and task types.", "Discovery")},
        open=page.is_open,
    ),
    Route(
        method="GET",
        path="/health",
        handler=ops.health,
        name="health",
        summary="Whether the process lives",
        answers={200: _json("It lives.", "Health")},
        open=always,
    ),
    Route(
        method="GET",
        path="/ready",
        handler=ops.ready,
        name="ready",
        summary="Whether jobs are accepted",
        answers={200: _json("They are.", "Ready"), 503: "They are not."},
        open=always,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        handler=discovery.openapi,
        name="openapi",
        summary="This API as OpenAPI 3.1",
        answers={200: _json("The document.", "Document")},
        open=always,
    ),
    Route(
        method="GET",
        path="/metrics",
        handler=ops.metrics,
        name="metrics",
        summary="Metrics for Prometheus",
        answers={200: {"description": "Text.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
    ),
    Route(
        method="POST",
        path="/tasks",
        handler=tasks.submit,
        name="submitTask",
        summary="Submit a task",
        body=_TASK_BODY,
        parameters=(_PREFER, _HEARTBEAT),
        answers={200: _SNAPSHOT, 202: _RECEIPT, **_ACCEPT_ERRORS},
    ),
    Route(
        method="POST",
        path="/tasks/batch",
        handler=tasks.submit_batch,
        name="submitBatch",
        summary="Submit up to 1000 tasks, all or none",
        body=_BATCH_BODY,
        answers={202: _json("All are accepted, in order.", "Receipts"), **_ACCEPT_ERRORS},
    ),
    Route(
        method="POST",
        path="/run-and-wait",
        handler=tasks.run_and_wait,
        name="runAndWait",
        summary="Submit a task and wait for its end",
        body=_TASK_BODY,
        parameters=(_TIMEOUT, _HEARTBEAT),
        answers={200: _SNAPSHOT, 202: _UNFINISHED, **_ACCEPT_ERRORS},
    ),
    Route(
        method="GET",
        path="/tasks",
        handler=tasks.list_jobs,
        name="listJobs",
        summary="Jobs, newest first",
        parameters=(
            _parameter(
                "status",
                "query",
                {"type": "string", "enum": ["pending", "running", "completed", "failed", "cancelled"]},
                "Only jobs in this status.",
            ),
            _parameter("type", "query", {"type": "string"}, "Only jobs of this task type."),
            _parameter(
                "createdAfter", "query", {"type": "string", "format": "date-time"}, "Only newer jobs."
            ),
            _parameter(
                "createdBefore", "query", {"type": "string", "format": "date-time"}, "Only older jobs."
            ),
            _parameter(
                "limit",
                "query",
                {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
                "Page size.",
            ),
            _parameter(
                "cursor",
                "query",
                {"type": "string", "format": "uuid"},
                "The `nextCursor` of the page before.",
            ),
        ),
        answers={200: _json("A page.", "Page")},
    ),
    Route(
        method="GET",
        path="/tasks/{jobId}",
        handler=tasks.show,
        name="showJob",
        summary="A job",
        parameters=(_PREFER, _HEARTBEAT),
        answers={200: _json("The job as it stands.", "Snapshot"), 404: "There is no such job."},
    ),
    Route(
        method="POST",
        path="/tasks/{jobId}/wait",
        handler=tasks.wait,
        name="waitForJob",
        summary="Wait for a job's end",
        body=_WAIT_BODY,
        parameters=(_TIMEOUT, _HEARTBEAT),
        answers={
            200: _SNAPSHOT,
            202: _UNFINISHED,
            404: "There is no such job.",
            413: "The body is too large.",
            415: "The body is not JSON.",
        },
    ),
    Route(
        method="POST",
        path="/tasks/{jobId}/cancel",
        handler=tasks.cancel,
        name="cancelJob",
        summary="Cancel a job",
        answers={200: _SNAPSHOT, 202: _UNFINISHED, 404: "There is no such job."},
    ),
    Route(
        method="DELETE",
        path="/tasks/{jobId}",
        handler=tasks.cancel,
        name="deleteJob",
        summary="Cancel a job, as /cancel does",
        answers={200: _SNAPSHOT, 202: _UNFINISHED, 404: "There is no such job."},
    ),
    Route(
        method="POST",
        path="/tasks/{jobId}/replay",
        handler=tasks.replay,
        name="replayJob",
        summary="Submit an ended job's task again",
        answers={
            202: _RECEIPT,
            402: "The cost limit is reached.",
            404: "There is no such job.",
            409: "The job has not ended yet.",
            422: "The Idempotency-Key was used for another task.",
            429: "The queue is full; Retry-After says when to come back.",
        },
    ),
    Route(
        method="GET",
        path="/tasks/{jobId}/events",
        handler=streams.job_events,
        name="jobEvents",
        summary="A job's events as a stream",
        parameters=(
            _parameter(
                "after",
                "query",
                {"type": "integer", "minimum": 0, "maximum": streams.LAST_EVENT_ID},
                "Only events with higher ids.",
            ),
            _parameter("Last-Event-ID", "header", {"type": "string"}, "The last event that was seen."),
        ),
        answers={
            200: _STREAM,
            204: {"description": "The job's last event was seen."},
            404: "There is no such job.",
        },
    ),
    Route(
        method="GET",
        path="/tasks/{jobId}/webhooks",
        handler=webhooks.ledger,
        name="jobWebhooks",
        summary="What was sent to webhooks about a job, with every attempt",
        answers={200: _json("Deliveries, oldest first.", "Deliveries"), 404: "There is no such job."},
    ),
    Route(
        method="POST",
        path="/tasks/{jobId}/webhooks/{deliveryId}/redeliver",
        handler=webhooks.redeliver,
        name="redeliverWebhook",
        summary="Send a delivery to a webhook again",
        answers={202: _json("It is due now.", "Delivery"), 404: "There is no such job or delivery."},
    ),
    Route(
        method="POST",
        path="/hooks/{preset}",
        handler=hooks.run,
        name="runHook",
        summary="Run a preset, as a webhook of somebody else; its signature takes the place of the token",
        body=_HOOK_BODY,
        answers={
            202: _RECEIPT,
            400: "The preset cannot use this body.",
            404: "There is no such preset.",
            **{status: text for status, text in _ACCEPT_ERRORS.items() if status != 415},
        },
        open=hooks.is_open,
    ),
    Route(
        method="GET",
        path="/events",
        handler=streams.all_events,
        name="allEvents",
        summary="The transitions of all jobs from now on, as a stream",
        answers={200: _STREAM},
    ),
]
