"""A process in virtual time: its timers, clocks and threads do the same thing in every run, and a day costs nothing.

`Process` holds a store and a registry on an event loop of their own. `crash` drops it as a power cut would: what the
files hold at that moment is copied, and everything else is gone.
"""

from __future__ import annotations

import asyncio
import selectors
import shutil
import sqlite3
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal
from unittest import mock

from async_endpoint.jobs import clock, commits, dispatcher
from async_endpoint.jobs.acceptance import Task
from async_endpoint.jobs.dispatcher import Limits
from async_endpoint.jobs.jsontext import encode
from async_endpoint.jobs.metrics import Metrics
from async_endpoint.jobs.model import parse_options
from async_endpoint.jobs.queue import JobQueue
from async_endpoint.jobs.registry import JobRegistry
from async_endpoint.jobs.store import JobStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from async_endpoint.jobs.attempts import Attempt, Handler
    from async_endpoint.jobs.telling import Observer, Outbox

DAY_MS = 86_400_000
COMMIT_SECONDS = 0.004


class _Selector(selectors.DefaultSelector):
    """Waits for no time at all: the loop's clock is moved on instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("stuck: nothing will ever happen on this loop")
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop with virtual time; work for threads is done on it, in the middle of `COMMIT_SECONDS`."""

    def __init__(self) -> None:
        self._clock = _Selector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        future = self.create_future()

        def work() -> None:
            try:
                settle = partial(future.set_result, func(*args))
            except Exception as exc:
                settle = partial(future.set_exception, exc)
            self.call_later(COMMIT_SECONDS / 2, lambda: None if future.done() else settle())

        self.call_later(COMMIT_SECONDS / 2, work)
        return future


class VirtualThread:
    """A WorkThread whose calls are made by the loop."""

    def __init__(self, _name: str) -> None:
        self._loop = asyncio.get_running_loop()

    async def call(self, function: Callable[..., object], *arguments: Any) -> None:
        await self._loop.run_in_executor(None, function, *arguments)

    def close(self) -> None:
        pass


class WallClock:
    """The clock on the wall, in milliseconds since the epoch: it goes with a loop's, and may be set."""

    def __init__(self) -> None:
        self.offset = 1_790_000_000_000
        self.loop: VirtualLoop | None = None

    def follow(self, loop: VirtualLoop) -> None:
        self.offset = self.now() - _ms(loop)
        self.loop = loop

    def now(self) -> int:
        return self.offset + (_ms(self.loop) if self.loop is not None else 0)

    def set_forward(self, ms: int) -> None:
        self.offset += ms


def _ms(loop: VirtualLoop) -> int:
    return int(loop.time() * 1000)


class Scripted:
    """A handler that leaves what it does to a function of the test."""

    def __init__(
        self,
        work: Callable[[Attempt], Any],
        *,
        effect_free: bool = False,
        instant: bool = False,
        on_interrupt: Literal["retry", "fail"] = "retry",
    ) -> None:
        self._work = work
        self.effect_free = effect_free or instant
        self.instant = instant
        self.on_interrupt = on_interrupt

    async def run(self, attempt: Attempt) -> object:
        result = self._work(attempt)
        return result if self.instant else await result

    def run_now(self, attempt: Attempt) -> object:
        return self._work(attempt)


class Process:
    """A store and a registry that live until `crash` or `stop`."""

    def __init__(
        self,
        folder: Path,
        wall: WallClock,
        handlers: Mapping[str, Handler],
        *,
        limits: Limits | None = None,
        outboxes: Iterable[Outbox] = (),
        observers: Iterable[Observer] = (),
    ) -> None:
        self.folder = folder
        self.loop = VirtualLoop()
        wall.follow(self.loop)
        self.failing = False
        self._patches = [
            mock.patch.object(clock, "time", SimpleNamespace(time_ns=lambda: wall.now() * 1_000_000)),
            mock.patch.object(dispatcher, "JobQueue", partial(JobQueue, self.loop.time)),
            mock.patch.object(commits, "WorkThread", VirtualThread),
        ]
        for patch in self._patches:
            patch.start()
        self.store = JobStore(folder / "jobs.sqlite")
        self._apply = self.store.database.apply
        self.store.database.apply = self._apply_or_fail  # type: ignore[method-assign]
        self.run(self._open(handlers, limits or Limits(), outboxes=outboxes, observers=observers))

    async def _open(self, handlers: Mapping[str, Handler], limits: Limits, **told: Any) -> None:
        await self.store.open()
        self.registry = JobRegistry(self.store, handlers, limits, metrics=Metrics(), **told)
        await self.registry.start()

    def _apply_or_fail(self, changes: Any) -> None:
        if self.failing:
            raise sqlite3.OperationalError("database or disk is full")
        self._apply(changes)

    def run(self, work: Any) -> Any:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def task(self, work: Any) -> asyncio.Task[Any]:
        """Begin a coroutine."""
        return self.loop.create_task(work)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.run(asyncio.sleep(seconds))

    def settle(self) -> None:
        """Let commits that are under way come to their end, and what follows from them."""
        self.advance(20 * COMMIT_SECONDS)

    def submit(self, *bodies: dict[str, Any], **more: Any) -> list[str]:
        """Submit tasks and wait for the receipt."""
        accepted = self.run(self.registry.submit([task_of(body) for body in bodies], **more))
        return [job.id for job in accepted.jobs]

    def crash(self, folder: Path) -> None:
        """Copy the files as they are into a new folder and drop everything else."""
        folder.mkdir(parents=True)
        for path in self.folder.glob("jobs.sqlite*"):
            shutil.copy(path, folder)
        self.failing = True
        self._end()

    def stop(self, grace: float) -> None:
        """Stop as the service does."""
        self.run(self.registry.drain(grace))
        self.run(self.store.close())
        self._end()

    def _end(self) -> None:
        tasks = asyncio.all_tasks(self.loop)
        for _ in range(20):
            for task in tasks:
                task.cancel()
            self.run(asyncio.sleep(0))
        self.store._reader.close()
        self.store._lister.shutdown()
        self.store.database.close()
        self.loop.close()
        for patch in self._patches:
            patch.stop()


def task_of(body: dict[str, Any]) -> Task:
    """A task as the catalog would make it."""
    return Task(body["type"], encode(body), None, parse_options(body))
