"""What a handler stores beside its result: items of the job's dataset, and records under keys.

Keys in the tables `items` and `records` are `job/attempt/…`: an attempt never mixes with the one before;
only those of the job's last attempt count. They are committed with the end of the job at the latest and leave
the store with it.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import JobError
from .database import Change

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .model import Job

TOTAL_FACTOR = 16
"""All that one attempt stores takes at most so many times the bytes of the largest result."""

OWN_KEYS = frozenset({"INPUT"})
"""Record keys that a handler cannot write."""

_KEY = re.compile(r"[A-Za-z0-9!\-_.'()]{1,256}")
CONTENT_TYPE = re.compile(r"[\x21-\x7e][\x20-\x7e]{0,254}")
_OVERHEAD = 32
"""Bytes counted for each value on top of its own."""


class Record(NamedTuple):
    """One value stored under a key."""

    key: str
    content_type: str
    body: bytes


def prefix(job: Job) -> str:
    """What the keys of the job's last attempt begin with."""
    return f"{job.id}/{job.attempt:06d}/"


def item_key(job: Job, index: int) -> str:
    """The key of an item, counted from 0."""
    return f"{prefix(job)}{index:09d}"


def item_index(key: str) -> int:
    """The index of an item's key."""
    return int(key.rpartition("/")[2])


def encode_record(content_type: str, body: bytes) -> bytes:
    """A record as stored: a line with its content type, then the value."""
    return json.dumps({"contentType": content_type}).encode() + b"\n" + body


def decode_record(key: str, value: bytes) -> Record:
    """A record from what is stored under `key`."""
    head, _, body = value.partition(b"\n")
    return Record(key.rpartition("/")[2], json.loads(head)["contentType"], body)


class Outputs:
    """Takes what one attempt stores, from any thread.

    Args:
        job: The job as it stands in this attempt.
        put: Hands changes to the store; called on the loop.
        loop: The event loop of the store.
        max_bytes: The largest item; all that is stored takes at most `TOTAL_FACTOR` times as much.
    """

    def __init__(
        self,
        job: Job,
        put: Callable[[str, Iterable[Change]], None],
        loop: asyncio.AbstractEventLoop,
        max_bytes: int,
    ) -> None:
        self._job = job
        self._put = put
        self._loop = loop
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._count = 0
        self._bytes = 0

    def push(self, data: object) -> None:
        """Append an item, or every item of a list.

        Raises:
            JobError: It is not JSON, or too much.
        """
        bodies = [_to_json(item) for item in (data if isinstance(data, (list, tuple)) else [data])]
        if max(map(len, bodies), default=0) > self._max_bytes:
            raise _too_much("An item takes at most the bytes")
        with self._lock:
            self._count_in(bodies)
            first, self._count = self._count, self._count + len(bodies)
            self._hand_over(
                [Change("items", item_key(self._job, first + at), body) for at, body in enumerate(bodies)]
            )

    def set(self, key: str, value: object, content_type: str | None) -> None:
        """Store a value under a key: bytes, text, or JSON.

        Raises:
            JobError: The key, the value or the type is not possible, or it is too much.
        """
        if not _KEY.fullmatch(key) or key in OWN_KEYS:
            raise JobError(f"{key!r:.300} is no key that a handler can write", retryable=False)
        if content_type is not None and not CONTENT_TYPE.fullmatch(content_type):
            raise JobError(f"{content_type!r:.300} is no content type", retryable=False)
        body, default_type = _to_body(value)
        record = encode_record(content_type or default_type, body)
        with self._lock:
            self._count_in([record])
            self._hand_over([Change("records", prefix(self._job) + key, record)])

    def _count_in(self, bodies: list[bytes]) -> None:
        total = self._bytes + sum(len(body) + _OVERHEAD for body in bodies)
        if total > self._max_bytes * TOTAL_FACTOR:
            raise _too_much(f"All that a job stores takes at most {TOTAL_FACTOR} times the bytes")
        self._bytes = total

    def _hand_over(self, changes: list[Change]) -> None:
        if _runs_here(self._loop):
            self._put(self._job.id, changes)
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._put, self._job.id, changes)


def _runs_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _too_much(bound: str) -> JobError:
    return JobError(
        f"{bound} that the setting maxResultBytes allows.", code="result-too-large", retryable=False
    )


def _to_body(value: object) -> tuple[bytes, str]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), "application/octet-stream"
    if isinstance(value, str):
        return _to_utf8(value), "text/plain; charset=utf-8"
    return _to_json(value), "application/json; charset=utf-8"


def _to_json(value: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as exc:
        raise JobError(f"A stored value cannot be written as JSON: {exc}", retryable=False) from exc
    return _to_utf8(text)


def _to_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise JobError(f"A stored value is not valid Unicode: {exc.reason}", retryable=False) from exc
