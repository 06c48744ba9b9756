"""What the default dataset holds, as the platform's dataset schema (version 1 of its specification) says it.

`make docs` writes `.actor/dataset_schema.json` from this, and the service applies the same views itself.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Field(NamedTuple):
    """One field of a row: its label, the format of its column in the platform's tables, and its JSON schema."""

    label: str
    format: str
    schema: dict[str, Any]


FIELDS: dict[str, Field] = {
    "jobId": Field(
        "Job",
        "text",
        {
            "type": "string",
            "description": "The job's id, a UUID.",
            "example": "0193a5f0-5f7a-7cc3-98c4-dc0c0c07398f",
        },
    ),
    "status": Field(
        "Status",
        "text",
        {
            "type": "string",
            "description": "How the job ended.",
            "enum": ["completed", "failed", "cancelled"],
            "example": "completed",
        },
    ),
    "task": Field(
        "Task",
        "object",
        {
            "type": "object",
            "description": "The task as submitted, with secrets masked.",
            "example": {"type": "echo", "payload": "hello"},
        },
    ),
    "result": Field(
        "Result",
        "object",
        {
            "description": "What a completed job returned: any JSON value.",
            "example": {"taskType": "echo", "payload": "hello"},
        },
    ),
    "error": Field(
        "Error",
        "text",
        {
            "type": ["string", "null"],
            "description": "What went wrong, in words, if the job did not complete.",
        },
    ),
    "errorCode": Field(
        "Error code",
        "text",
        {
            "type": ["string", "null"],
            "description": "What went wrong, for programs, if the job did not complete.",
            "example": "timeout",
        },
    ),
    "attempt": Field(
        "Attempt",
        "number",
        {
            "type": "integer",
            "description": "The number of the last attempt, counted from 1.",
            "example": 1,
        },
    ),
    "createdAt": Field(
        "Created",
        "date",
        {
            "type": "string",
            "description": "When the job was accepted, in UTC.",
            "example": "2026-01-02T03:04:05.678Z",
        },
    ),
    "startedAt": Field(
        "Started",
        "date",
        {
            "type": ["string", "null"],
            "description": "When the last attempt was started, in UTC; null if there was none.",
            "example": "2026-01-02T03:04:05.680Z",
        },
    ),
    "finishedAt": Field(
        "Finished",
        "date",
        {
            "type": "string",
            "description": "When the job ended, in UTC.",
            "example": "2026-01-02T03:04:05.690Z",
        },
    ),
}
"""The fields of a row, in their order."""

TRANSFORMATIONS: dict[str, dict[str, Any]] = {"overview": {"fields": list(FIELDS)}}
"""What each view makes of the items, in the names of the parameters of "Get dataset items"."""


def dataset_schema() -> dict[str, Any]:
    """The Actor's dataset schema."""
    properties = {name: {"title": field.label, **field.schema} for name, field in FIELDS.items()}
    return {
        "actorSpecification": 1,
        "title": "Ended jobs",
        "description": "Exactly one row for each job that completed, failed or was cancelled.",
        "fields": {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": properties,
        },
        "views": {"overview": _overview()},
    }


def _overview() -> dict[str, Any]:
    columns = {name: {"label": field.label, "format": field.format} for name, field in FIELDS.items()}
    return {
        "title": "Jobs",
        "description": "Every ended job, in the order in which they ended.",
        "transformation": TRANSFORMATIONS["overview"],
        "display": {"component": "table", "properties": columns},
    }
