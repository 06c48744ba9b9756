"""Idempotency keys: the same request twice is one submission.

A key is written in the transaction that accepts its jobs and goes when the first of them leaves the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pydantic_core import from_json, to_json

from ..errors import IdempotencyConflict
from .database import Change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .commits import Write
    from .store import JobStore


class Idempotency(NamedTuple):
    """A caller's key. `digest` stands for the validated request; None when the key alone decides."""

    scope: str
    key: str
    digest: str | None = None

    @property
    def stored_key(self) -> str:
        """Scopes do not share keys."""
        return f"{self.scope}:{self.key}"


class Known(NamedTuple):
    """A submission that was made under a key; `write` while it is not committed."""

    job_ids: list[str]
    digest: str | None
    write: Write | None = None


class KeyBook:
    """Which keys were used: those being committed in memory, all others in the store."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._uncommitted: dict[str, Known] = {}

    def find(self, idempotency: Idempotency) -> Known | None:
        """The submission that the key stands for.

        Raises:
            IdempotencyConflict: The key was used for another request.
        """
        known = self._uncommitted.get(idempotency.stored_key) or self._load(idempotency.stored_key)
        if known is not None and _differ(known.digest, idempotency.digest):
            raise IdempotencyConflict
        return known

    def change(self, idempotency: Idempotency, job_ids: Sequence[str]) -> Change:
        """What stores the key."""
        value = to_json({"jobs": job_ids, "digest": idempotency.digest})
        return Change("idempotency", idempotency.stored_key, value)

    def reserve(self, idempotency: Idempotency, job_ids: list[str], write: Write) -> None:
        """Hold the key until its submission is committed or refused."""
        self._uncommitted[idempotency.stored_key] = Known(job_ids, idempotency.digest, write)

    def settle(self, idempotency: Idempotency) -> None:
        """The submission was committed or refused."""
        self._uncommitted.pop(idempotency.stored_key, None)

    def _load(self, stored_key: str) -> Known | None:
        value = self._store.get("idempotency", stored_key)
        if value is None:
            return None
        record = from_json(value)
        return Known(record["jobs"], record["digest"])


def _differ(first: str | None, second: str | None) -> bool:
    return None not in (first, second) and first != second
