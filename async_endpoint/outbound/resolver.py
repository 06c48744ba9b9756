"""Name look-ups that get in nobody's way."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from collections.abc import Sequence

LOOKUPS_AT_ONCE = 64

AddrInfos = list[tuple[Any, ...]]


class ThreadedResolver(AbstractResolver):
    """The system's resolver, each look-up in a daemon thread of its own.

    A name server that does not answer holds a thread for half a minute. In the event loop's shared pool that
    would stop everything else that uses the pool, and the process could not exit before it.
    """

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(LOOKUPS_AT_ONCE)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a name up.

        Raises:
            OSError: There is no such name, or no answer.
        """
        await self._slots.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[AddrInfos] = loop.create_future()
        # The slot is given back when the thread ends, not when a cancelled caller stops waiting for it.
        Thread(
            target=self._look_up, args=(loop, answer, host, port, family), name="lookup", daemon=True
        ).start()
        return _results(host, await answer)

    async def close(self) -> None:
        """Nothing to close: threads end with their look-ups."""

    def _look_up(
        self,
        loop: asyncio.AbstractEventLoop,
        answer: asyncio.Future[AddrInfos],
        host: str,
        port: int,
        family: socket.AddressFamily,
    ) -> None:
        outcome: AddrInfos | OSError
        try:
            outcome = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        except OSError as exc:
            outcome = exc
        except ValueError as exc:  # a label that is too long, a null character
            outcome = socket.gaierror(socket.EAI_NONAME, str(exc))
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(self._finish, answer, outcome)

    def _finish(self, answer: asyncio.Future[AddrInfos], outcome: AddrInfos | OSError) -> None:
        self._slots.release()
        if answer.done():
            return
        if isinstance(outcome, OSError):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)


def _results(host: str, infos: Sequence[tuple[Any, ...]]) -> list[ResolveResult]:
    return [
        ResolveResult(
            hostname=host,
            host=address[0],
            port=address[1],
            family=family,
            proto=protocol,
            flags=socket.AI_NUMERICHOST,
        )
        for family, _, protocol, _, address in infos
    ]
