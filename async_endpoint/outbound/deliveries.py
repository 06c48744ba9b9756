"""One webhook delivery: what is owed to a receiver, what was tried, what comes next. Nothing here sends."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Any

from pydantic import ConfigDict
from yarl import URL

from ..jobs.clock import iso
from ..jobs.model import Model
from .lanes import Receiver

TIMEOUT_MS = 15_000
"""How long an attempt may take in all."""

JITTER = 0.2
"""A gap grows by a random part up to this, so that what failed together is not tried together."""

Random = Callable[[], float]
"""Random numbers from 0 to 1."""


class DeliveryStatus(StrEnum):
    """Where a delivery stands; a redelivery makes it pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class _Record(Model):
    """Stored in camel case, made in snake case."""

    model_config = ConfigDict(validate_by_name=True)


class Attempt(_Record):
    """One try: when it began, what was answered (`status`, HTTP), how long it took, and what went wrong."""

    time: int
    status: int | None
    ms: int
    error: str | None = None


class Delivery(_Record):
    """What is owed to one receiver about one event of a job. Times are milliseconds since the epoch.

    Attributes:
        id: Unique, the same for every attempt; the `webhook-id`.
        event: Such as `job.completed`.
        at: When the event happened.
        secret: What signs, `whsec_…`.
        kind: The name of the renderer that makes the request.
        extra: What that renderer needs besides.
        data: JSON text of the job at the event, where the job still changes; else it is read when it is sent.
        delays_ms: The gaps after failed attempts; None for the service's own.
        tries: Attempts since the delivery was made or asked for again.
        due: When the next attempt is to be made; None when there is none.
    """

    id: str
    job_id: str
    event: str
    at: int
    url: str
    headers: Mapping[str, str] = {}
    secret: str | None = None
    kind: str = "standard"
    extra: Any = None
    data: str | None = None
    delays_ms: tuple[int, ...] | None = None
    timeout_ms: int = TIMEOUT_MS
    status: DeliveryStatus = DeliveryStatus.PENDING
    tries: int = 0
    due: int | None = None
    attempts: tuple[Attempt, ...] = ()

    @property
    def key(self) -> str:
        """Its key in the table `deliveries`; those of one job stand together."""
        return f"{self.job_id}/{self.id}"

    @property
    def receiver(self) -> Receiver:
        """Whose lane it waits in."""
        url = _absolute(self.url)
        return Receiver("", self.url) if url is None else Receiver(str(url.origin()), url.raw_path)

    def evolve(self, **changes: Any) -> Delivery:
        """A copy with these attributes changed."""
        return self.model_copy(update=changes)

    def to_json(self) -> bytes:
        """The delivery as stored."""
        return self.model_dump_json(by_alias=True, exclude_defaults=True).encode()

    def shown(self) -> dict[str, Any]:
        """The delivery as clients see it: no secret, no headers, no query of the URL."""
        return {
            "deliveryId": self.id,
            "event": self.event,
            "url": _shown_url(self.url),
            "status": self.status,
            "createdAt": iso(self.at),
            "nextAttemptAt": None if self.due is None else iso(self.due),
            "attempts": [attempt.model_dump() | {"time": iso(attempt.time)} for attempt in self.attempts],
        }


def _absolute(text: str) -> URL | None:
    try:
        url = URL(text)
        url.origin()
    except ValueError:
        return None
    return url


def _shown_url(text: str) -> str:
    """A URL without what may be secret in it: the user, the query."""
    url = _absolute(text)
    if url is None:
        return "not a URL"
    bare = str(url.with_user(None).with_query(None).with_fragment(None))
    return f"{bare}?***" if url.raw_query_string else bare


def after_attempt(
    delivery: Delivery,
    attempt: Attempt,
    *,
    now: int,
    delays_ms: Sequence[int],
    retry_after_ms: int | None = None,
    final: bool = False,
    jitter: Random = random.random,
) -> Delivery:
    """The delivery after one more attempt: delivered (2xx), given up, or due again.

    Args:
        delivery: Before the attempt.
        attempt: What became of it.
        now: The time.
        delays_ms: The gaps, where the delivery has none of its own.
        retry_after_ms: What the receiver asked for; replaces the gap.
        final: No further attempt makes sense. An answer 410 (Gone) says so too.
        jitter: Random numbers from 0 to 1.
    """
    made = delivery.evolve(attempts=(*delivery.attempts, attempt), tries=delivery.tries + 1, due=None)
    if attempt.status is not None and 200 <= attempt.status < 300:
        return made.evolve(status=DeliveryStatus.DELIVERED)
    delays_ms = delays_ms if delivery.delays_ms is None else delivery.delays_ms
    if final or attempt.status == 410 or made.tries > len(delays_ms):
        return made.evolve(status=DeliveryStatus.FAILED)
    return made.evolve(due=now + gap_ms(delays_ms, made.tries, retry_after_ms, jitter))


def after_cut(delivery: Delivery, began: int) -> Delivery:
    """The delivery when the service ended in the middle of an attempt, which does not count as a try."""
    error = "the service ended meanwhile; whether it arrived is not known"
    cut = Attempt(time=began, status=None, ms=0, error=error)
    return delivery.evolve(attempts=(*delivery.attempts, cut))


def asked_again(delivery: Delivery, now: int) -> Delivery:
    """The delivery, due at once, with the whole schedule before it."""
    return delivery.evolve(status=DeliveryStatus.PENDING, tries=0, due=now)


def gap_ms(
    delays_ms: Sequence[int], tries: int, retry_after_ms: int | None = None, jitter: Random = random.random
) -> int:
    """How long to wait after this many tries: what the receiver asked for, else as scheduled; and jitter."""
    base = retry_after_ms or delays_ms[tries - 1]
    return round(base * (1 + JITTER * jitter()))
