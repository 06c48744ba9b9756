"""A thread of one's own for calls that block. An executor's futures would take as long as a small transaction."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable


class _Call(NamedTuple):
    function: Callable[..., object]
    arguments: tuple[Any, ...]
    done: asyncio.Future[None]

    def settle(self, error: Exception | None) -> None:
        """It has returned, or raised this error."""
        if self.done.done():
            return
        if error is None:
            self.done.set_result(None)
        else:
            self.done.set_exception(error)


class WorkThread:
    """Makes calls on a thread, one after the other, for the event loop that is running now."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def call(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call a function and wait until it returns; raises what it raises."""
        call = _Call(function, arguments, self._loop.create_future())
        self._calls.put(call)
        await call.done

    def close(self) -> None:
        """Wait until the calls that were begun have returned."""
        self._calls.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            error = None
            try:
                call.function(*call.arguments)
            except Exception as exc:
                error = exc
            with suppress(RuntimeError):  # the loop is closed: the process ends
                self._loop.call_soon_threadsafe(call.settle, error)
