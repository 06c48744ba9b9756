"""The job: what a client submitted, and its life until now."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema, from_json

from .clock import iso

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_ERROR_CHARS = 10_000
"""An error text is cut after this many characters."""


class JobStatus(StrEnum):
    """Where a job stands; `pending → running → completed | failed | cancelled`."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


ACTIVE_STATUSES = frozenset({JobStatus.PENDING, JobStatus.RUNNING})
TERMINAL_STATUSES = frozenset({JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED})


def _whole(value: object) -> object:
    """JSON has one kind of number: 5.0 is a whole one, too."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _time(value: object) -> object:
    """Read ISO 8601 and nothing else: a bare number would count as seconds."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError, OverflowError):  # a zone can lead beyond the calendar
        at = datetime.fromisoformat(value)
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    raise ValueError("use an ISO 8601 time with a zone, such as 2026-01-02T03:04:05Z")


@dataclass(frozen=True)
class Whole:
    """Makes `Annotated[int, Whole(least, most)]` a whole number from the outside, within these bounds."""

    least: int
    most: int

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The bounds stand in the inner schema, where published schemas find them."""
        number = core_schema.int_schema(ge=self.least, le=self.most, strict=True)
        return core_schema.no_info_before_validator_function(_whole, number)


LONGEST_MS = 10 * 365 * 86_400_000
"""The longest duration from the outside: ten years."""

Milliseconds = Annotated[int, Whole(0, LONGEST_MS)]
PositiveMilliseconds = Annotated[int, Whole(1, LONGEST_MS)]

Time = Annotated[AwareDatetime, BeforeValidator(_time)]
"""A time with a zone, from the outside."""

_PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"
_URL = rf"^https?://[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(:{_PORT})?([/?#][!-~]*)?$"
_BASE64_KEY = "^(whsec_)?([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{3}=?|[A-Za-z0-9+/]{2}(==)?)$"
_HEADERS: dict[str, Any] = {
    "propertyNames": {"pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"},
    "additionalProperties": {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]*$"},
}
"""What a published schema can say of a receiver; `outbound.receivers` checks it, in words for people."""


class Model(BaseModel):
    """JSON from the outside: camelCase, nothing unknown, nothing converted (`"5"` is no number)."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, strict=True, allow_inf_nan=False
    )


class RetryOptions(Model):
    """How often a job is tried and how long the gaps are: exponential backoff with full jitter."""

    max_attempts: Annotated[int, Whole(1, 20), Field(description="Attempts in all.")] = 1
    initial_delay_ms: Annotated[Milliseconds, Field(description="Longest gap after the first attempt.")] = (
        1000
    )
    factor: Annotated[float, Field(ge=1, le=100, description="By what the gap grows each time.")] = 2
    max_delay_ms: Annotated[Milliseconds, Field(description="No gap is longer.")] = 60_000


WebhookEvent = Literal[
    "job.created", "job.started", "job.retrying", "job.completed", "job.failed", "job.cancelled"
]


class WebhookOptions(Model):
    """One receiver that is told about the job."""

    url: Annotated[
        str,
        Field(
            min_length=1, max_length=2000, description="Where to POST.", json_schema_extra={"pattern": _URL}
        ),
    ]
    events: Annotated[
        Annotated[tuple[WebhookEvent, ...], Field(max_length=20, json_schema_extra={"minItems": 1})] | None,
        Field(description="Which events to send; the terminal ones when absent."),
    ] = None
    secret: Annotated[
        str | None,
        Field(
            max_length=200,
            description="Signs deliveries (Standard Webhooks, `whsec_…`).",
            json_schema_extra={"pattern": _BASE64_KEY},
        ),
    ] = None
    headers: Annotated[
        dict[str, str] | None,
        Field(max_length=20, description="Further headers of each delivery.", json_schema_extra=_HEADERS),
    ] = None


def _not_both(first: str, second: str) -> dict[str, Any]:
    """JSON schema: these two members do not go together."""
    return {"not": {"required": [first, second], "properties": {first: _GIVEN, second: _GIVEN}}}


_GIVEN = {"not": {"type": "null"}}
_LIMIT_NEEDS_KEY: dict[str, Any] = {
    "if": {"required": ["concurrencyLimit"], "properties": {"concurrencyLimit": _GIVEN}},
    "then": {"required": ["concurrencyKey"], "properties": {"concurrencyKey": _GIVEN}},
}


class JobOptions(Model):
    """What a client may ask about the way its job is run; the same for every task type."""

    model_config = ConfigDict(
        json_schema_extra={"allOf": [_not_both("delayMs", "startAt"), _LIMIT_NEEDS_KEY]}
    )

    timeout_ms: Annotated[
        PositiveMilliseconds | None, Field(description="Ends an attempt that runs longer.")
    ] = None
    retry: Annotated[RetryOptions, Field(description="When and how often to try again.")] = RetryOptions()
    priority: Annotated[int, Whole(-100, 100), Field(description="Higher starts first.")] = 0
    delay_ms: Annotated[Milliseconds | None, Field(description="Not to be started before this delay.")] = None
    start_at: Annotated[Time | None, Field(description="Not to be started before this time.")] = None
    expire_ms: Annotated[
        PositiveMilliseconds | None, Field(description="Gives up if it has not started by then.")
    ] = None
    concurrency_key: Annotated[
        str | None,
        Field(min_length=1, max_length=200, description="Jobs of one key share `concurrencyLimit`."),
    ] = None
    concurrency_limit: Annotated[
        Annotated[int, Whole(1, 1000)] | None,
        Field(description="At most this many of the key run at once [1]."),
    ] = None
    webhooks: Annotated[
        tuple[WebhookOptions, ...], Field(max_length=5, description="Receivers that are told about the job.")
    ] = ()

    @model_validator(mode="after")
    def _check_pairs(self) -> Self:
        if self.delay_ms is not None and self.start_at is not None:
            raise ValueError("give delayMs or startAt, not both")
        if self.concurrency_limit is not None and self.concurrency_key is None:
            raise ValueError("concurrencyLimit needs a concurrencyKey")
        return self


DEFAULT_OPTIONS = JobOptions()


class Job(NamedTuple):
    """One accepted task and its life, never changed in place. Times are integer milliseconds since the epoch.

    `task`, `shown_task` and `result` are JSON text: they are made once and copied from then on.

    Attributes:
        id: UUIDv7 text; ids sort by creation.
        type: The task type, which names the handler.
        task: The task as submitted.
        shown_task: The task with secrets masked, where it has any.
        interruptions: How often the process ended uncleanly while the job ran.
        stops: How often the service was stopped while the job ran.
        row: The number of its dataset row, counted by order of ending; set with the terminal status.
        idempotency: The scoped idempotency key that the job was submitted with.
        notes: What the way of submission keeps with the job and shows in its own terms: JSON, never in a snapshot.
        final: The snapshot of an ended job, made once.
    """

    id: str
    type: str
    task: bytes
    created_at: int
    options: JobOptions = DEFAULT_OPTIONS
    shown_task: bytes | None = None
    status: JobStatus = JobStatus.PENDING
    attempt: int = 1
    started_at: int | None = None
    finished_at: int | None = None
    result: bytes | None = None
    error: str | None = None
    error_code: str | None = None
    progress: bytes | None = None
    next_attempt_at: int | None = None
    replay_of: str | None = None
    interruptions: int = 0
    stops: int = 0
    cancel_requested: bool = False
    row: int | None = None
    idempotency: str | None = None
    notes: Mapping[str, Any] | None = None
    final: bytes | None = None

    def evolve(self, **changes: Any) -> Job:
        """A copy with these attributes changed; a third of the time that `_replace` takes."""
        values = list(self)
        for name, value in changes.items():
            values[_PLACES[name]] = value
        return tuple.__new__(Job, values)

    @property
    def terminal(self) -> bool:
        """Whether the job has ended."""
        return self.finished_at is not None

    @property
    def tries(self) -> int:
        """Attempts that were not cut off by an end of the process."""
        return self.attempt - self.interruptions - self.stops

    @property
    def rank(self) -> tuple[int, int]:
        """(attempt, how far within it): never decreases over a job's life."""
        return self.attempt, 0 if self.status is JobStatus.PENDING else 1 if self.finished_at is None else 2

    def row_json(self) -> bytes:
        """The job's dataset row: the first ten members of its snapshot."""
        if self.final is not None and self.progress is None and self.replay_of is None:
            return self.final
        return b"%b}" % self._first_ten()

    def snapshot_json(self, queue_position: int | None = None) -> bytes:
        """The job as clients see it."""
        if self.final is not None:
            return self.final
        parts = [self._first_ten()]
        if self.progress is not None:
            parts.append(b',"progress":%b' % self.progress)
        if queue_position is not None:
            parts.append(b',"queuePosition":%d' % queue_position)
        if self.next_attempt_at is not None:
            parts.append(b',"nextAttemptAt":%b' % _time_json(self.next_attempt_at))
        if self.replay_of is not None:
            parts.append(b',"replayOf":"%b"' % self.replay_of.encode())
        parts.append(b"}")
        return b"".join(parts)

    def _first_ten(self) -> bytes:
        return (
            b'{"jobId":"%b","status":"%b","task":%b,"result":%b,"error":%b,"errorCode":%b,'
            b'"attempt":%d,"createdAt":%b,"startedAt":%b,"finishedAt":%b'
        ) % (
            self.id.encode(),
            self.status.encode(),
            self.shown_task or self.task,
            self.result or b"null",
            b"null" if self.error is None else _text(self.error),
            b"null" if self.error_code is None else _text(self.error_code),
            self.attempt,
            _time_json(self.created_at),
            _time_json(self.started_at),
            _time_json(self.finished_at),
        )


_PLACES = {name: place for place, name in enumerate(Job._fields)}


def parse_options(task: dict[str, Any]) -> JobOptions:
    """The options of a task that was validated before."""
    options = task.get("options")
    return JobOptions.model_validate_json(json.dumps(options)) if options else DEFAULT_OPTIONS


def parse_task(job: Job) -> dict[str, Any]:
    """The task as submitted."""
    task: dict[str, Any] = from_json(job.task)
    return task


def clean_error(text: str) -> str:
    """An error text that fits into JSON and into a row."""
    return text.encode("utf-8", "replace").decode()[:MAX_ERROR_CHARS]


@lru_cache(maxsize=256)
def _time_json(at: int | None) -> bytes:
    return b"null" if at is None else b'"%b"' % iso(at).encode()


def _text(value: str) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
