r"""How a job is written in the store: lines of JSON.

    head        what lists, recovery and retention need, with times as numbers
    snapshot    the job as clients see it
    task        the task as submitted, only where the snapshot masks a part of it

JSON text holds no raw newline, so the lines come apart without parsing, and a list hands out snapshots as they are.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

from pydantic_core import from_json, to_json

from .model import Job, JobStatus, parse_options

_ALWAYS = {
    "status": "status",
    "type": "type",
    "created": "created_at",
    "attempt": "attempt",
    "started": "started_at",
    "finished": "finished_at",
    "row": "row",
}
_SELDOM = {
    "next": "next_attempt_at",
    "interruptions": "interruptions",
    "stops": "stops",
    "cancel": "cancel_requested",
    "key": "idempotency",
    "code": "error_code",
    "notes": "notes",
}
"""Members of the head, with the job's attribute for each; of the second kind those without a value are left out."""

_HEAD = _ALWAYS | _SELDOM
_seldom_of = attrgetter(*_SELDOM.values())


def encode(job: Job) -> bytes:
    """A job as stored."""
    lines = [_head(job), job.snapshot_json()]
    if job.shown_task is not None:
        lines.append(job.task)
    return b"\n".join(lines)


def _head(job: Job) -> bytes:
    """Written by hand, since it is written for every change of a job; no member of `_ALWAYS` needs escaping."""
    started, finished, row = job.started_at, job.finished_at, job.row
    head = (
        f'{{"status":"{job.status}","type":"{job.type}","created":{job.created_at},"attempt":{job.attempt},'
        f'"started":{started or "null"},"finished":{finished or "null"},"row":{row or "null"}}}'
    ).encode()
    seldom = _seldom_of(job)
    if any(seldom):
        members = {name: value for name, value in zip(_SELDOM, seldom, strict=True) if value}
        return head[:-1] + b"," + to_json(members)[1:]
    return head


def decode(value: bytes) -> Job:
    """A job from what is stored."""
    head_line, snapshot_line, *task_line = value.split(b"\n", 2)
    head, snapshot = from_json(head_line), from_json(snapshot_line)
    shown = to_json(snapshot["task"])
    attributes = {attribute: head[name] for name, attribute in _HEAD.items() if name in head}
    attributes["status"] = JobStatus(head["status"])
    return Job(
        **attributes,
        id=snapshot["jobId"],
        task=task_line[0] if task_line else shown,
        shown_task=shown if task_line else None,
        options=parse_options(from_json(task_line[0]) if task_line else snapshot["task"]),
        result=_optional(snapshot["result"]) if head["status"] == JobStatus.COMPLETED else None,
        error=snapshot["error"],
        progress=_optional(snapshot.get("progress")),
        replay_of=snapshot.get("replayOf"),
    )


def snapshot_line(value: bytes) -> bytes:
    """The job as clients see it, from what is stored."""
    start = value.index(b"\n") + 1
    end = value.find(b"\n", start)
    return value[start:] if end < 0 else value[start:end]


def _optional(value: Any) -> bytes | None:
    return None if value is None else to_json(value)
