"""Webhooks: what a job's transitions owe to receivers, and how it gets there.

A delivery is written to the store in the transaction of the event that it tells of: table `deliveries` is the
ledger, table `owed` has the keys of what is still to be sent, when it is due, and when the attempt that is under way
began. After a crash the work goes on from there, and no attempt is left out: a delivery may arrive twice, with the
same `webhook-id`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

from ..errors import DeliveryNotFound
from ..jobs.clock import now_ms
from ..jobs.database import Change
from ..jobs.model import Job, WebhookOptions
from ..jobs.records import snapshot_line
from . import standard_webhooks
from .deliveries import Attempt, Delivery, after_attempt, after_cut, asked_again
from .lanes import Lanes, Limits, Receiver
from .posting import Answer, Request, post

if TYPE_CHECKING:
    import aiohttp

    from ..jobs.store import JobStore

logger = logging.getLogger(__name__)

Source = Callable[[Job, str], Iterable[Delivery]]
"""Who is to be told of this event (`completed`, `started`, …) of a job; the same each time it is asked."""

Renderer = Callable[[Delivery, bytes, int], Request]
"""Makes the request of an attempt, of the delivery, the job's snapshot at the event, and the time."""


class AttemptOutcome(StrEnum):
    """What an attempt led to: success, another attempt, or the end of a delivery that was not made."""

    DELIVERED = "delivered"
    RETRIED = "retried"
    FAILED = "failed"


class Webhooks:
    """The ledger of deliveries, and the sending of what is due; an outbox of the registry.

    Args:
        store: The open store.
        session: A session of `open_session`.
        receivers: Webhooks that are told about every job.
        delays_ms: The gaps after failed attempts.
        limits: How many attempts may be under way at once.

    Attributes:
        sources: Asked what an event owes, where the settings or the job have webhooks, or the job has notes. Add
            before the registry starts.
        renderers: By kind of delivery.
        attempts: How many were made, by outcome.
    """

    def __init__(
        self,
        store: JobStore,
        session: aiohttp.ClientSession,
        *,
        receivers: Sequence[WebhookOptions] = (),
        delays_ms: Sequence[int] = (),
        limits: Limits = Limits(),  # noqa: B008 - immutable
    ) -> None:
        self._receivers = tuple(receivers)
        self.sources: list[Source] = [partial(standard_webhooks.owed, self._receivers)]
        self.renderers: dict[str, Renderer] = {"standard": standard_webhooks.render}
        self.attempts: Counter[AttemptOutcome] = Counter()
        self._store = store
        self._session = session
        self._delays_ms = delays_ms
        self._lanes = Lanes(limits)
        self._open: dict[str, asyncio.TimerHandle | None] = {}
        self._open_jobs: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sending = False

    # --- life ---

    def start(self) -> None:
        """Go on with what the store says is owed, and begin to send."""
        for key, value in self._store.scan("owed"):
            if key not in self._open:
                self._opened(key)
                due, _, began = value.partition(b" ")
                if began:
                    self._note_cut(key, int(began))
                else:
                    self._wait_until(key, int(due))
        self._sending = True
        self._pump()

    async def stop(self, grace: float) -> None:
        """Begin no more attempts; those under way get `grace` seconds, or the next start makes them again."""
        self._sending = False
        for timer in self._open.values():
            if timer is not None:
                timer.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- what is owed ---

    @property
    def open(self) -> int:
        """How many deliveries are still to be made."""
        return len(self._open)

    def owes(self, job_id: str) -> bool:
        """Whether a delivery about this job is still to be made, so that the job must be kept."""
        return job_id in self._open_jobs

    def concerns(self, job: Job) -> bool:
        """Whether anybody may be told of this job."""
        return bool(self._receivers or job.options.webhooks or job.notes)

    def changes(self, job: Job, event: str) -> Sequence[Change]:
        """What this transition owes."""
        return [change for delivery in self._deliveries(job, event) for change in _stored(delivery)]

    def committed(self, job: Job, event: str) -> None:
        """What it owes is in the store: send it."""
        for delivery in self._deliveries(job, event):
            self._opened(delivery.key)
            self._lanes.put(delivery.receiver, delivery.key)
        self._pump()

    def _deliveries(self, job: Job, event: str) -> list[Delivery]:
        found: list[Delivery] = []
        for source in self.sources:
            found += source(job, event)
        return found

    # --- the ledger ---

    def ledger(self, job_id: str) -> list[Delivery]:
        """A job's deliveries with all their attempts, oldest first."""
        stored = [_load(value) for _, value in self._store.scan("deliveries", job_id + "/")]
        return sorted(stored, key=lambda delivery: delivery.at)

    async def redeliver(self, job_id: str, delivery_id: str) -> Delivery:
        """Send a delivery again, now; one that is being sent stays as it is.

        Raises:
            DeliveryNotFound: The job has none with this id.
        """
        delivery = self._get(f"{job_id}/{delivery_id}")
        key = delivery.key
        if self._is_under_way(key):
            return delivery
        timer = self._open.get(key)
        if timer is None:
            self._opened(key)
        else:
            timer.cancel()
            self._open[key] = None
        delivery = asked_again(delivery, now_ms())
        await self._store.write(_stored(delivery), partial(self._enqueue, key)).settled()
        return delivery

    def _get(self, key: str) -> Delivery:
        value = self._store.get("deliveries", key)
        if value is None:
            raise DeliveryNotFound
        return _load(value)

    # --- what is due when ---

    def _opened(self, key: str) -> None:
        self._open[key] = None
        self._open_jobs[_job_id(key)] += 1

    def _closed(self, key: str) -> None:
        job_id = _job_id(key)
        del self._open[key]
        self._open_jobs[job_id] -= 1
        if not self._open_jobs[job_id]:
            del self._open_jobs[job_id]

    def _is_under_way(self, key: str) -> bool:
        return key in self._open and self._open[key] is None

    def _wait_until(self, key: str, due: int) -> None:
        seconds = max(0, due - now_ms()) / 1000
        self._open[key] = asyncio.get_running_loop().call_later(seconds, self._enqueue, key)

    def _enqueue(self, key: str) -> None:
        self._open[key] = None
        self._lanes.put(self._get(key).receiver, key)
        self._pump()

    # --- attempts ---

    def _pump(self) -> None:
        while self._sending and (taken := self._lanes.take()) is not None:
            receiver, key = taken
            task = asyncio.create_task(self._attempt(receiver, key), name=f"webhook {key}")
            self._tasks.add(task)
            task.add_done_callback(partial(self._attempt_ended, receiver))

    def _attempt_ended(self, receiver: Receiver, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._lanes.done(receiver)
        self._pump()

    async def _attempt(self, receiver: Receiver, key: str) -> None:
        delivery = self._get(key)
        under_way = Change("owed", key, b"%d %d" % (delivery.due or 0, now_ms()))
        await self._store.write([under_way]).committed()
        began, start = now_ms(), asyncio.get_running_loop().time()
        answer = await self._send(delivery, began)
        took = round((asyncio.get_running_loop().time() - start) * 1000)
        after = after_attempt(
            delivery,
            Attempt(time=began, status=answer.status, ms=took, error=answer.error),
            now=now_ms(),
            delays_ms=self._delays_ms,
            retry_after_ms=answer.retry_after_ms,
            final=answer.final,
        )
        self._note(after, receiver)
        self._store.write(_stored(after), partial(self._noted, after))

    async def _send(self, delivery: Delivery, at: int) -> Answer:
        snapshot = self._snapshot(delivery)
        if snapshot is None:
            return Answer(None, "the job is no longer kept", final=True)
        try:
            request = self.renderers[delivery.kind](delivery, snapshot, at)
            return await post(self._session, delivery.url, request, delivery.timeout_ms)
        except Exception:
            logger.exception("job=%s delivery=%s the attempt broke off", delivery.job_id, delivery.id)
            return Answer(None, "the request could not be made")

    def _snapshot(self, delivery: Delivery) -> bytes | None:
        if delivery.data is not None:
            return delivery.data.encode()
        value = self._store.get("jobs", delivery.job_id)
        return None if value is None else snapshot_line(value)

    def _note_cut(self, key: str, began: int) -> None:
        cut = after_cut(self._get(key), began)
        self._store.write(_stored(cut), partial(self._noted, cut))

    def _note(self, delivery: Delivery, receiver: Receiver) -> None:
        outcome = AttemptOutcome.RETRIED if delivery.due is not None else AttemptOutcome(delivery.status)
        self.attempts[outcome] += 1
        logger.log(
            logging.DEBUG if outcome is AttemptOutcome.DELIVERED else logging.WARNING,
            "job=%s delivery=%s receiver=%s attempt=%d outcome=%s error=%s",
            delivery.job_id,
            delivery.id,
            receiver.origin,
            len(delivery.attempts),
            outcome,
            delivery.attempts[-1].error,
        )

    def _noted(self, delivery: Delivery) -> None:
        """An attempt is in the ledger."""
        if delivery.due is None:
            self._closed(delivery.key)
        else:
            self._wait_until(delivery.key, delivery.due)


def _stored(delivery: Delivery) -> list[Change]:
    due = None if delivery.due is None else b"%d" % delivery.due
    return [Change("deliveries", delivery.key, delivery.to_json()), Change("owed", delivery.key, due)]


def _load(value: bytes) -> Delivery:
    return Delivery.model_validate_json(value)


def _job_id(key: str) -> str:
    return key.partition("/")[0]
