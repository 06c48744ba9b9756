"""The OpenAPI 3.1 document, made from the route table and the models that validate."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from .. import __version__
from ..jobs.model import JobStatus
from ..outbound.deliveries import DeliveryStatus
from .routes import always

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..handlers.tasktype import TaskType
    from .routes import Route

_TEMPLATE = "#/components/schemas/{model}"
_TIME: dict[str, Any] = {"type": ["string", "null"], "format": "date-time"}
_TEXT: dict[str, Any] = {"type": ["string", "null"]}
_LINKS = {name: {"type": "string"} for name in ("getUrl", "waitUrl", "eventsUrl", "cancelUrl")}
_JOB_ID = {"type": "string", "format": "uuid"}


def _object(required: Iterable[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": properties}


_RECEIPT = _object(
    ("jobId", "status", *_LINKS), jobId=_JOB_ID, status={"$ref": "#/components/schemas/Status"}, **_LINKS
)
_SNAPSHOT = _object(
    (
        "jobId",
        "status",
        "task",
        "result",
        "error",
        "errorCode",
        "attempt",
        "createdAt",
        "startedAt",
        "finishedAt",
    ),
    jobId=_JOB_ID,
    status={"$ref": "#/components/schemas/Status"},
    task={"type": "object", "description": "What was submitted, with secrets masked."},
    result={"description": "What the handler returned; null until then."},
    error=_TEXT,
    errorCode=_TEXT,
    attempt={"type": "integer", "minimum": 1},
    createdAt={"type": "string", "format": "date-time"},
    startedAt=_TIME,
    finishedAt=_TIME,
    progress=_object((), fraction={"type": ["number", "null"]}, message=_TEXT),
    queuePosition={"type": "integer", "minimum": 1, "description": "An estimate."},
    nextAttemptAt={"type": "string", "format": "date-time"},
    replayOf=_JOB_ID,
)
_PROBLEM = _object(
    ("type", "title", "status", "detail", "code", "error"),
    type={"type": "string"},
    title={"type": "string"},
    status={"type": "integer"},
    detail={"type": "string"},
    code={"type": "string"},
    error={"type": "string"},
    errors={
        "type": "array",
        "items": _object(("path", "message"), path={"type": "string"}, message={"type": "string"}),
    },
)
_DELIVERY = _object(
    ("deliveryId", "event", "url", "status", "createdAt", "nextAttemptAt", "attempts"),
    deliveryId={"type": "string", "description": "The `webhook-id` of every attempt."},
    event={"type": "string"},
    url={"type": "string", "description": "Without its query."},
    status={"type": "string", "enum": list(DeliveryStatus)},
    createdAt={"type": "string", "format": "date-time"},
    nextAttemptAt=_TIME,
    attempts={
        "type": "array",
        "items": _object(
            ("time", "status", "ms", "error"),
            time={"type": "string", "format": "date-time"},
            status={"type": ["integer", "null"], "description": "Of the answer; null without one."},
            ms={"type": "integer", "minimum": 0},
            error=_TEXT,
        ),
    },
)
_SCHEMAS: dict[str, Any] = {
    "Delivery": _DELIVERY,
    "Deliveries": _object(
        ("items",), items={"type": "array", "items": {"$ref": "#/components/schemas/Delivery"}}
    ),
    "Status": {"type": "string", "enum": list(JobStatus)},
    "Receipt": _RECEIPT,
    "Receipts": _object(("jobs",), jobs={"type": "array", "items": {"$ref": "#/components/schemas/Receipt"}}),
    "Snapshot": _SNAPSHOT,
    "Page": _object(
        ("items", "nextCursor"),
        items={"type": "array", "items": {"$ref": "#/components/schemas/Snapshot"}},
        nextCursor=_TEXT,
    ),
    "Problem": _PROBLEM,
    "Health": _object(
        ("ok", "service", "version", "activeTasks", "queued", "draining"),
        ok={"const": True},
        service={"type": "string"},
        version={"type": "string"},
        activeTasks={"type": "integer"},
        queued={"type": "integer"},
        draining={"type": "boolean"},
    ),
    "Ready": _object(("ready",), ready={"const": True}),
    "Discovery": _object(
        ("service", "version", "routes", "taskTypes", "presets"),
        service={"type": "string"},
        version={"type": "string"},
        containerUrl={"type": "string"},
        routes={"type": "array", "items": {"type": "object"}},
        taskTypes={"type": "array", "items": {"type": "string"}},
        presets={"type": "array", "items": {"type": "string"}},
    ),
    "Document": {"type": "object", "description": "An OpenAPI document."},
}

_SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The setting `accessToken`; without it no credentials are needed.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "X-Api-Key",
        "description": "The same token instead, where `Authorization` belongs to somebody else.",
    },
    "token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The same token instead, where headers cannot be sent.",
    },
}


def document(routes: Iterable[Route], types: Mapping[str, TaskType]) -> dict[str, Any]:
    """The document for these routes and task types; it depends on code alone."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "async-endpoint",
            "version": __version__,
            "description": "Submit a task and get a job id at once; poll, wait, follow its events or be called back.",
        },
        "paths": paths,
        "components": {
            "schemas": {**_task_schemas(types), **_SCHEMAS},
            "securitySchemes": _SECURITY_SCHEMES,
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", route.path)
    parameters = [{"name": n, "in": "path", "required": True, "schema": {"type": "string"}} for n in names]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "parameters": [*parameters, *route.parameters],
        "responses": {
            **{str(status): _response(answer) for status, answer in sorted(route.answers.items())},
            "default": _response("What went wrong."),
        },
        "security": _security(route),
    }
    if route.body is not None:
        operation["requestBody"] = route.body
    return operation


def _security(route: Route) -> list[dict[str, list[str]]]:
    """The empty choice stands for services without an access token, since the document knows no settings.

    The other schemes stand for the same token: programs that fill in every choice would send several that differ.
    """
    return [] if route.open is always else [{"bearer": []}, {}]


def _response(answer: str | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(answer, str):
        return answer
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": answer, "content": {"application/problem+json": problem}}


def _task_schemas(types: Mapping[str, TaskType]) -> dict[str, Any]:
    """`Task`: one of the task models, told apart by `type`."""
    models = {name: types[name].model for name in sorted(types)}
    references, definitions = models_json_schema(
        [(model, "validation") for model in models.values()], ref_template=_TEMPLATE
    )
    schemas = dict(definitions.get("$defs", {}))
    choices = [references[model, "validation"] for model in models.values()]
    schemas["Task"] = {"anyOf": choices, "description": "`type` says which; echo when it is absent."}
    for name, model in models.items():
        if name != "echo":
            schemas[model.__name__].setdefault("required", []).append("type")
    return schemas
