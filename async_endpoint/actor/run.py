"""The run that the service lives in: where its input, jobs and rows are, and when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import SettingsError
from ..jobs.store import JobStore
from .dataset import LocalDataset, open_dataset
from .default_storages import local_storages

if TYPE_CHECKING:
    from ..environment import Environment
    from ..jobs.registry import JobRegistry
    from ..jobs.storages import DefaultStorages
    from ..jobs.telling import Observer
    from ..settings import Settings
    from .rows import RowSink

Observe = Callable[[int], None]


class Run(Protocol):
    """What the service needs of the run.

    Attributes:
        grace: Seconds that running jobs get when the service stops.
        stop: Set when the service shall stop.
        observers: Who in the run is told of jobs that have ended.
    """

    grace: float
    stop: asyncio.Event

    async def input(self) -> Any:
        """The Actor input; None where there is none."""

    async def open_store(self, settings: Settings, observe: Observe) -> JobStore:
        """The store, open; raises StoreError where that fails."""

    async def open_rows(self, store: JobStore) -> RowSink:
        """Where rows go."""

    def storages(self) -> DefaultStorages:
        """The run's own dataset and key-value store, to be read."""

    @property
    def observers(self) -> tuple[Observer, ...]:
        """Who in the run is told of jobs that have ended; known once the store is open."""

    def admit(self, jobs: int) -> None:
        """Called before so many jobs are accepted; raises a ServiceError to refuse."""

    def owes(self, row: int) -> bool:
        """Whether the end of the job with this row number is not worked off yet."""

    async def begin(self, registry: JobRegistry) -> None:
        """The registry has started: do what is to be done beside it."""

    async def flush(self) -> None:
        """Work off what ends owe to the run; the store is still open."""

    async def close(self) -> None:
        """The service has stopped and everything is flushed."""

    async def fail(self, reason: str) -> None:
        """Tell the owner of the run why the service does not start."""


class LocalRun:
    """A run on somebody's own machine: everything is in the storage folder.

    The Apify SDK is not loaded: it would add a second to every start and do nothing here.
    """

    grace = 10.0
    observers: tuple[Observer, ...] = ()

    def __init__(self, environment: Environment) -> None:
        self.stop = asyncio.Event()
        self._environment = environment
        self._folder = environment.storage_dir
        self._dataset: LocalDataset | None = None

    async def input(self) -> Any:
        """The Actor input from its file."""
        key = _input_key()
        folder = self._folder / "key_value_stores" / "default"
        path = next((path for path in (folder / f"{key}.json", folder / key) if path.is_file()), None)
        if path is None:
            return None
        try:
            return json.loads(path.read_text("utf-8-sig"))
        except (OSError, ValueError) as exc:
            raise SettingsError(f"The Actor input {path} is not JSON: {exc}.") from None

    async def open_store(self, settings: Settings, observe: Observe) -> JobStore:
        """The file `jobs.sqlite`; empty, with an empty dataset, where the environment asks for that."""
        store = JobStore(self._folder / "jobs.sqlite", observe=observe)
        if self._environment.purge_on_start:
            store.database.purge()
            shutil.rmtree(self._folder / "datasets" / "default", ignore_errors=True)
        await store.open()
        return store

    async def open_rows(self, store: JobStore) -> RowSink:
        """Files in the SDK's layout."""
        self._dataset = open_dataset(self._folder / "datasets" / "default", store)
        await store.flush()
        return self._dataset

    def storages(self) -> DefaultStorages:
        """Read from the files."""
        return local_storages(self._folder, _input_key())

    def admit(self, jobs: int) -> None:
        """Nothing to refuse."""

    def owes(self, row: int) -> bool:
        """Nothing beyond the row."""
        return False

    async def begin(self, registry: JobRegistry) -> None:
        """Nothing to do."""

    async def flush(self) -> None:
        """Nothing to work off."""

    async def fail(self, reason: str) -> None:
        """The message on the terminal is enough."""

    async def close(self) -> None:
        """Write the dataset's metadata."""
        if self._dataset is not None:
            await self._dataset.close()


def _input_key() -> str:
    """The record that the Actor input is in."""
    return os.environ.get("ACTOR_INPUT_KEY") or "INPUT"
