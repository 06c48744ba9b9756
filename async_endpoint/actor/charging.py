"""Charging for completed jobs where the Actor is paid per event: each once, never in doubt.

Jobs are charged in the order of their ending, in batches. A batch is committed with its idempotency key
before the call. While the platform remembers the key, an unclear call is repeated under it. Later the run's
own count tells whether it was applied, and where that is not certain the batch counts as charged.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from datetime import timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from apify_client.errors import ApifyApiError
from pydantic import BaseModel

from ..errors import CostLimitReached
from ..jobs.clock import now_ms
from ..jobs.database import Change
from ..jobs.model import Job, JobStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from apify_client._resource_clients import RunClientAsync

    from ..jobs.store import JobStore

logger = logging.getLogger(__name__)

EVENT = "completed-job"
"""The event that the Actor's pricing has to define."""

_BATCH = 1000
_COLLECT_SECONDS = 1.0
"""Jobs that end within this time are charged together."""

_KEY_LIFETIME_MS = 150_000
"""How long a call may be repeated under its key; the platform remembers keys for three minutes."""

_RETRY_GAPS = (0.5, 1.0, 2.0, 5.0, 10.0)
_TIMEOUT = timedelta(seconds=10)
_STATE = "charges"


class Till(Protocol):
    """The platform's side of charging."""

    async def charge(self, count: int, key: str) -> None:
        """Charge `count` events, once under one key; raises when that failed or the answer is unclear."""

    async def charged(self) -> int:
        """How many events the run has been charged for so far."""


class RunTill:
    """Charges the current run through the API, with the client's own retries off."""

    def __init__(self, client: RunClientAsync) -> None:
        self._client = client

    async def charge(self, count: int, key: str) -> None:
        """See `Till`."""
        await self._client.charge(EVENT, count=count, idempotency_key=key, timeout=_TIMEOUT)

    async def charged(self) -> int:
        """See `Till`."""
        run = await self._client.get(timeout=_TIMEOUT)
        if run is None:
            raise RuntimeError("the run is not found")
        return (run.charged_event_counts or {}).get(EVENT, 0)


class Batch(BaseModel):
    """Jobs that are being charged.

    Attributes:
        key: The idempotency key.
        count: How many are charged.
        first: Row number of the first job; with `last` it names the jobs.
        last: Row number of the last job.
        before: The run's count before the call.
        at: When it was committed, in milliseconds since the epoch.
    """

    key: str
    count: int
    first: int
    last: int
    before: int
    at: int


class State(BaseModel):
    """What is committed: the row number up to which jobs are settled, the run's count, and the open batch."""

    settled: int = 0
    charged: int = 0
    batch: Batch | None = None


class Budget:
    """How many jobs the user still pays for.

    Args:
        limit: The most the run may cost, in US dollars; may be infinite.
        price: Of one completed job, with everything that the platform charges along with it.
        spent: What the run had cost before this start.
    """

    def __init__(self, limit: Decimal, price: Decimal, spent: Decimal) -> None:
        left = (limit - spent) / price if price else Decimal("Infinity")
        self._left = max(0, int(left)) if left.is_finite() else None

    def take(self, count: int) -> int:
        """Use up to `count` jobs of the budget; returns how many."""
        if self._left is None:
            return count
        taken = min(count, self._left)
        self._left -= taken
        return taken

    def covers(self, jobs: int) -> bool:
        """Whether so many jobs can be paid for."""
        return self._left is None or jobs <= self._left


class Charging:
    """Works off what completed jobs owe.

    Args:
        store: Holds the jobs and the state.
        till: The platform's side.
        budget: The user's limit.
        active: How many accepted jobs have not ended.

    Attributes:
        exhausted: Set once the limit is reached and every accepted job has ended and is settled.
    """

    def __init__(self, store: JobStore, till: Till, budget: Budget, active: Callable[[], int]) -> None:
        self._store = store
        self._till = till
        self._budget = budget
        self._active = active
        self._state = State.model_validate_json(store.get("meta", _STATE) or b"{}")
        self.exhausted = asyncio.Event()
        self._owed = 0
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def settled(self) -> int:
        """Row number up to which no job owes a charge."""
        return self._state.settled

    def check(self, jobs: int = 1) -> None:
        """Raise CostLimitReached when so many further jobs could not be paid for."""
        if not self._budget.covers(self._active() + self._owed + jobs):
            raise CostLimitReached

    def ended(self, job: Job) -> None:
        """Note a job that is to be charged; its row number is in the store and tells the next process."""
        if job.status is JobStatus.COMPLETED:
            self._owed += 1
        self._idle.clear()
        self._news.set()

    def start(self) -> None:
        """Begin to charge, with what the last process left."""
        self._news.set()
        self._task = asyncio.create_task(self._run(), name="charging")

    async def flush(self) -> None:
        """Wait until every job that has ended is settled."""
        await self._idle.wait()

    async def close(self) -> None:
        """Stop; what is open goes on at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._take_stock()
        while True:
            await self._news.wait()
            await asyncio.sleep(_COLLECT_SECONDS)
            self._news.clear()
            while await self._settle_next():
                pass
            if not self._news.is_set():
                self._idle.set()
            if not self._active() and not self._owed and not self._budget.covers(1):
                self.exhausted.set()

    async def _take_stock(self) -> None:
        """Learn the run's count, against which an unclear call is checked later."""
        charged = await self._charged()
        batch = self._state.batch
        if batch is None:
            self._state = self._state.model_copy(update={"charged": charged})
        elif charged < batch.before + batch.count:
            self._budget.take(batch.count)

    async def _charged(self) -> int:
        while True:
            try:
                return await self._till.charged()
            except Exception as exc:
                logger.debug("the run's charges cannot be read, trying again: %s", exc)
                await asyncio.sleep(_RETRY_GAPS[-1])

    async def _settle_next(self) -> bool:
        """Settle one batch; False when there is none."""
        if self._state.batch is None:
            jobs = await self._store.ended_after(self._state.settled, _BATCH)
            if not jobs:
                return False
            await self._open(jobs)
        if self._state.batch is not None:
            await self._collect(self._state.batch)
        return True

    async def _open(self, jobs: Sequence[Job]) -> None:
        completed = [job for job in jobs if job.status is JobStatus.COMPLETED]
        first, last = self._state.settled + 1, jobs[-1].row or 0
        count = self._budget.take(len(completed))
        self._owed = max(0, self._owed - len(completed))
        if not count:
            await self._save(State(settled=last, charged=self._state.charged), lazy=True)
            return
        batch = Batch(
            key=str(uuid.uuid4()),
            count=count,
            first=first,
            last=last,
            before=self._state.charged,
            at=now_ms(),
        )
        await self._save(self._state.model_copy(update={"batch": batch}))

    async def _collect(self, batch: Batch) -> None:
        expires = _expiry(batch)
        failures = 0
        while time.monotonic() < expires:
            try:
                await self._till.charge(batch.count, batch.key)
            except Exception as exc:
                if _refused(exc):
                    logger.error("the platform refuses to charge for %d jobs: %s", batch.count, exc)
                    await self._close(batch, batch.before)
                    return
                await asyncio.sleep(_RETRY_GAPS[min(failures, len(_RETRY_GAPS) - 1)])
                failures += 1
            else:
                await self._close(batch, batch.before + batch.count)
                return
        await self._reconcile(batch)

    async def _reconcile(self, batch: Batch) -> None:
        """The key is forgotten: let the run's count say whether the batch was charged."""
        charged = await self._charged()
        if charged == batch.before:
            again = batch.model_copy(update={"key": str(uuid.uuid4()), "at": now_ms()})
            await self._save(self._state.model_copy(update={"batch": again}))
            return
        if charged != batch.before + batch.count:
            logger.warning("%d jobs may not have been charged for", batch.count)
        await self._close(batch, charged)

    async def _close(self, batch: Batch, charged: int) -> None:
        await self._save(State(settled=batch.last, charged=charged), lazy=True)

    async def _save(self, state: State, *, lazy: bool = False) -> None:
        self._state = state
        change = Change("meta", _STATE, state.model_dump_json().encode())
        await self._store.write([change], lazy=lazy).committed()


def _expiry(batch: Batch) -> float:
    """When the batch's key may be forgotten, on the monotonic clock."""
    age = now_ms() - batch.at
    left = _KEY_LIFETIME_MS - age if age >= 0 else 0
    return time.monotonic() + left / 1000


def _refused(exc: Exception) -> bool:
    """Whether the platform said clearly that it did not charge and will not."""
    passing = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT)
    return (
        isinstance(exc, ApifyApiError)
        and exc.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        and exc.status_code not in passing
    )
