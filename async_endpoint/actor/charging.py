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
from contextlib import suppress
from typing import TYPE_CHECKING

from pydantic import BaseModel

from ..errors import CostLimitReached
from ..jobs.clock import now_ms
from ..jobs.database import Change
from ..jobs.model import Job, JobStatus
from .till import refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..jobs.commits import Write
    from ..jobs.store import JobStore
    from .budget import Budget
    from .till import Till

logger = logging.getLogger(__name__)

_BATCH = 1000
_NO_END = (1 << 63) - 1
_COLLECT_SECONDS = 1.0
"""Jobs that end within this time are charged together."""

_KEY_LIFETIME_MS = 150_000
"""How long a call may be repeated under its key; the platform remembers keys for three minutes."""

_CALM_SECONDS = 30.0
"""Once a key is forgotten: how late an earlier call under it may still show in the run's count."""

_RETRY_GAPS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_STATE = "charges"

_NEXT = """
SELECT max("row"), count(*) FILTER (WHERE status = 'completed')
FROM (SELECT "row", status FROM jobs WHERE "row" > ? AND "row" <= ? ORDER BY "row" LIMIT ?)
"""
"""The row number of the last of the next ended jobs, and how many of them have completed."""


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


class Charging:
    """Works off what completed jobs owe.

    Args:
        store: Holds the jobs and the state.
        till: The platform's side.
        budget: The user's limit.
        charged: The run's count as `budget` knows it.
        active: How many accepted jobs have not ended.
        secure: Returns once all that is committed would survive the loss of the machine.

    Attributes:
        exhausted: Set once the limit is reached and every accepted job has ended and is settled.
    """

    def __init__(
        self,
        store: JobStore,
        till: Till,
        budget: Budget,
        *,
        charged: int,
        active: Callable[[], int],
        secure: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._till = till
        self._budget = budget
        self._active = active
        self._secure = secure
        self._state = State.model_validate_json(store.get("meta", _STATE) or b"{}")
        self._take_stock(charged)
        self.exhausted = asyncio.Event()
        self._last_row = store.last_row()
        self._owed = 0
        self._news = asyncio.Event()
        self._idle = asyncio.Event()
        self._leaving = asyncio.Event()
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
        """Wait until every job that has ended is settled, without waiting for more to be charged with them."""
        self._leaving.set()
        await self._idle.wait()

    async def close(self) -> None:
        """Stop; what is open goes on at the next start."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _take_stock(self, charged: int) -> None:
        """Compare the run's count with what the last process committed, and take from the budget what it misses."""
        state = self._state
        opened = 0 if state.batch is None else state.batch.count
        self._budget.take(max(0, state.charged + opened - charged))
        if state.batch is None:
            self._state = state.model_copy(update={"charged": max(state.charged, charged)})

    async def _run(self) -> None:
        batch = self._state.batch
        _, owed = await self._next(batch.last if batch else self._state.settled, self._last_row, -1)
        self._owed += owed
        while True:
            await self._news.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._leaving.wait(), _COLLECT_SECONDS)
            self._news.clear()
            while await self._settle_next():
                pass
            if not self._news.is_set():
                self._idle.set()
            if not self._active() and not self._owed and not self._budget.covers(1):
                self.exhausted.set()

    async def _next(self, after: int, until: int, limit: int) -> tuple[int, int]:
        """The last row number and how many have completed, of ended jobs within these row numbers."""
        ((last, completed),) = await self._store.select(_NEXT, (after, until, limit))
        return last or after, completed

    async def _settle_next(self) -> bool:
        """Settle one batch; False when there is none."""
        if self._state.batch is None:
            last, completed = await self._next(self._state.settled, _NO_END, _BATCH)
            if last == self._state.settled:
                return False
            await self._open(last, completed)
        if self._state.batch is not None:
            await self._collect(self._state.batch)
        return True

    async def _open(self, last: int, completed: int) -> None:
        count = self._budget.take(completed)
        self._budget.take_rows(last - self._state.settled - count)
        self._owed = max(0, self._owed - completed)
        if not count:
            self._save(State(settled=last, charged=self._state.charged), lazy=True)
            return
        first, before = self._state.settled + 1, self._state.charged
        await self._commit(
            Batch(key=str(uuid.uuid4()), count=count, first=first, last=last, before=before, at=now_ms())
        )

    async def _collect(self, batch: Batch) -> None:
        """Call until there is a clear answer; every call under the batch's key counts once."""
        expires = _expiry(batch)
        failures = 0
        while time.monotonic() < expires:
            try:
                await self._till.charge(batch.count, batch.key)
            except Exception as exc:
                if refused(exc):
                    logger.error("the platform refuses to charge for %d jobs: %s", batch.count, exc)
                    self._close(batch, batch.before)
                    return
                logger.debug("the answer to a charge is not clear: %s", exc)
                await _pause(failures)
                failures += 1
            else:
                self._close(batch, batch.before + batch.count)
                return
        await self._reconcile(batch)

    async def _reconcile(self, batch: Batch) -> None:
        """The key is forgotten: let the run's count say whether the batch was charged."""
        await asyncio.sleep(_CALM_SECONDS)
        charged = await self._charged()
        if charged == batch.before:
            await self._commit(batch.model_copy(update={"key": str(uuid.uuid4()), "at": now_ms()}))
            return
        if charged != batch.before + batch.count:
            logger.warning("%d jobs may not have been charged for", batch.count)
        self._close(batch, charged)

    async def _charged(self) -> int:
        failures = 0
        while True:
            try:
                return await self._till.charged()
            except Exception as exc:
                logger.debug("the run's charges cannot be read, trying again: %s", exc)
                await _pause(failures)
                failures += 1

    async def _commit(self, batch: Batch) -> None:
        """Keep the batch where the next process finds it, whatever becomes of this machine."""
        await self._save(self._state.model_copy(update={"batch": batch})).committed()
        failures = 0
        while True:
            try:
                return await self._secure()
            except Exception as exc:
                logger.debug("charges wait for the key-value store: %s", exc)
                await _pause(failures)
                failures += 1

    def _close(self, batch: Batch, charged: int) -> None:
        """Nobody waits for the commit: until then a restart repeats the call under its key."""
        self._save(State(settled=batch.last, charged=charged), lazy=True)

    def _save(self, state: State, *, lazy: bool = False) -> Write:
        self._state = state
        return self._store.write([Change("meta", _STATE, state.model_dump_json().encode())], lazy=lazy)


async def _pause(failures: int) -> None:
    await asyncio.sleep(_RETRY_GAPS[min(failures, len(_RETRY_GAPS) - 1)])


def _expiry(batch: Batch) -> float:
    """When the batch's key may be forgotten, on the monotonic clock."""
    age = now_ms() - batch.at
    left = _KEY_LIFETIME_MS - age if age >= 0 else 0
    return time.monotonic() + left / 1000
