"""A run on the Apify platform: the SDK's events, the replica, the dataset, the charges, and how the run ends."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from apify import Actor, Event
from apify_client import ApifyClientAsync

from ..errors import StartError
from ..jobs.store import JobStore
from .budget import Budget
from .charging import Charging
from .default_storages import platform_storages
from .platform_rows import PlatformRows
from .records import Records, RecordsError
from .replica import Replica
from .till import EVENT, RunTill

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..environment import Environment
    from ..jobs.registry import JobRegistry
    from ..jobs.storages import DefaultStorages
    from ..jobs.telling import Observer
    from ..settings import Settings
    from .rows import RowSink

logger = logging.getLogger(__name__)

_DATASET_ITEM_EVENT = "apify-default-dataset-item"
"""What the platform charges by itself for each item of the default dataset, where the pricing names it."""

_JOIN_GAPS = (1.0, 2.0, 5.0, 10.0)
"""Seconds between the tries to join the run."""

_STATUS_SECONDS = 10.0
_LAST_SECONDS = 40.0
"""Seconds before the run's timeout at which it stops: the grace of running jobs and the last writes fit in."""

_GRACE_SHARE = 5 / 8
"""How much of that time is for the running jobs, where the run's timeout is short."""

_REBOOT_SECONDS = 3.0
_LISTENERS = timedelta(seconds=1)
_FAREWELL_SECONDS = 60.0
"""Seconds for which results can still be read after the cost limit has ended the work."""


class PlatformRun:
    """The current run, through the SDK.

    Args:
        environment: Where and how the process runs.
    """

    grace = 25.0

    def __init__(self, environment: Environment) -> None:
        self.stop = asyncio.Event()
        self._path = environment.storage_dir / "jobs.sqlite"
        self._actor = Actor(configure_logging=False, exit_process=False)
        self._migrating = False
        self._aborting = asyncio.Event()
        self._replica: Replica | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._charging: Charging | None = None
        self._registry: JobRegistry | None = None

    async def input(self) -> Any:
        """Join the run, and read the Actor input with its secrets decrypted."""
        for gap in (*_JOIN_GAPS, None):
            try:
                await self._actor.init()
                break
            except Exception as exc:
                if gap is None:
                    raise StartError(f"The run cannot be joined: {exc}") from exc
                logger.warning("the run cannot be joined, trying again: %s", exc)
                await asyncio.sleep(gap)
        configuration = self._actor.configuration
        self._client = ApifyClientAsync(
            configuration.token, api_url=configuration.api_base_url, max_retries=0
        )
        self._listen()
        try:
            return await self._actor.get_input()
        except Exception as exc:
            raise StartError(f"The Actor input cannot be read: {exc}") from exc

    async def open_store(self, settings: Settings, observe: Callable[[int], None]) -> JobStore:
        """A store made from the replica; the local file is a cache and begins anew."""
        configuration = self._actor.configuration
        store_id = configuration.default_key_value_store_id or ""
        records = Records(configuration.token, configuration.api_base_url, store_id)
        self._replica = Replica(records, wait=settings.durability == "full")
        changes = await self._replica.restore(self._path)
        store = JobStore(self._path, journal=self._replica, observe=observe)
        await store.open()
        await asyncio.to_thread(store.database.apply, changes)
        self._replica.start(store.database.copy)
        self._charging = self._open_charging(store, self._replica)
        return store

    async def open_rows(self, store: JobStore) -> RowSink:
        """The run's default dataset."""
        return PlatformRows(self._client.dataset(self._actor.configuration.default_dataset_id or ""))

    def storages(self) -> DefaultStorages:
        """Read through the API, by a client that tries again."""
        configuration = self._actor.configuration
        return platform_storages(
            ApifyClientAsync(configuration.token, api_url=configuration.api_base_url),
            configuration.default_dataset_id or "",
            configuration.default_key_value_store_id or "",
            configuration.input_key,
        )

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Charges, where the Actor is paid per event."""
        return () if self._charging is None else (self._charging,)

    def owes(self, row: int) -> bool:
        """Whether the job with this row number may still be charged for."""
        return self._charging is not None and row > self._charging.settled

    def admit(self, jobs: int) -> None:
        """Refuse jobs that the user would not pay for."""
        if self._charging is not None:
            self._charging.check(jobs)

    async def begin(self, registry: JobRegistry) -> None:
        """The jobs are there: start what charges for them and shows them."""
        self._registry = registry
        if self._charging is not None:
            self._charging.start()
            self._spawn(self._end_at_cost_limit(self._charging))
        self._spawn(self._show_status())
        if self._actor.configuration.timeout_at is not None:
            self._spawn(self._stop_before(self._actor.configuration.timeout_at))

    async def flush(self) -> None:
        """Charge for what has ended."""
        if self._charging is not None:
            try:
                await self._charging.flush()
            finally:
                await self._charging.close()

    async def close(self) -> None:
        """Write the rest of the replica and leave the run; where it migrates, wait for the end instead."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._replica is not None:
            await self._replica.close()
        if self._migrating:
            await self._reboot()
        await self._actor.exit(exit_code=0, event_listeners_timeout=_LISTENERS)

    async def fail(self, reason: str) -> None:
        """Say on the run's page why it cannot start."""
        with suppress(Exception):
            await self._actor.set_status_message(reason, is_terminal=True)

    # Events. Listeners only note what happened: the service drains, then the run is closed.

    def _listen(self) -> None:
        self._actor.on(Event.MIGRATING, self._on_migrating)
        self._actor.on(Event.ABORTING, self._on_aborting)
        self._actor.on(Event.PERSIST_STATE, self._on_persist_state)

    async def _on_migrating(self) -> None:
        logger.info("the run migrates to another machine")
        self._migrating = True
        self.stop.set()
        await self._on_persist_state()

    async def _on_aborting(self) -> None:
        logger.info("the run is being aborted")
        self._aborting.set()
        self.stop.set()
        await self._on_persist_state()

    async def _on_persist_state(self) -> None:
        if self._replica is not None:
            with suppress(RecordsError):
                await self._replica.flush()

    async def _reboot(self) -> None:
        """Have the container replaced, and never end by itself: that would end the run as succeeded."""
        while not self._aborting.is_set():
            try:
                await self._actor.reboot(event_listeners_timeout=_LISTENERS, custom_after_sleep=timedelta(0))
                break
            except Exception as exc:
                logger.warning("the reboot failed, trying again: %s", exc)
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._aborting.wait(), _REBOOT_SECONDS)
        await self._aborting.wait()

    # Work beside the jobs

    def _open_charging(self, store: JobStore, replica: Replica) -> Charging | None:
        manager = self._actor.get_charging_manager()
        pricing = manager.get_pricing_info()
        if not pricing.is_pay_per_event:
            return None
        price = pricing.per_event_prices.get(EVENT)
        if price is None:
            logger.warning("the Actor is paid per event, but its pricing has no event %r", EVENT)
            return None
        row_price = pricing.per_event_prices.get(_DATASET_ITEM_EVENT, Decimal(0))
        spent = manager.calculate_total_charged_amount()
        budget = Budget(pricing.max_total_charge_usd, spent, event=price, row=row_price)
        till = RunTill(self._client.run(self._actor.configuration.actor_run_id or ""))
        charged = manager.get_charged_event_count(EVENT)
        return Charging(store, till, budget, charged=charged, active=self._active, secure=replica.flush)

    def _active(self) -> int:
        return 0 if self._registry is None else self._registry.unfinished

    async def _end_at_cost_limit(self, charging: Charging) -> None:
        await charging.exhausted.wait()
        logger.info("the cost limit is reached and every job has ended: the run ends in a minute")
        await asyncio.sleep(_FAREWELL_SECONDS)
        self.stop.set()

    async def _stop_before(self, timeout_at: datetime) -> None:
        started = self._actor.configuration.started_at or datetime.now(UTC)
        margin = min(_LAST_SECONDS, (timeout_at - started).total_seconds() / 4)
        self.grace = min(self.grace, _GRACE_SHARE * margin)
        await asyncio.sleep((timeout_at - datetime.now(UTC)).total_seconds() - margin)
        logger.info("the run's timeout is near")
        self.stop.set()

    async def _show_status(self) -> None:
        shown = None
        while True:
            message = self._status()
            if message != shown:
                try:
                    await self._actor.set_status_message(message)
                    shown = message
                except Exception as exc:
                    logger.debug("the status message was not set: %s", exc)
            await asyncio.sleep(_STATUS_SECONDS)

    def _status(self) -> str:
        registry = self._registry
        assert registry is not None  # noqa: S101 - begin() set it
        return f"{registry.running:,} running, {registry.queued:,} queued, {registry.ended:,} done"

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name="run"))
