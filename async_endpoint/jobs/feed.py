"""The transitions of all jobs, live: each reader has a bounded queue and is dropped when it falls behind."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_BACKLOG = 1000


class Transition(NamedTuple):
    """One committed transition; `data` is JSON text."""

    name: str
    data: bytes


class Feed:
    """Hands transitions to every reader."""

    def __init__(self) -> None:
        self._readers: set[asyncio.Queue[Transition | None]] = set()

    def __bool__(self) -> bool:
        return bool(self._readers)

    def publish(self, transition: Transition) -> None:
        """Give a transition to every reader; one whose queue is full gets the end instead."""
        for reader in list(self._readers):
            if reader.qsize() >= _BACKLOG:
                self._drop(reader)
            else:
                reader.put_nowait(transition)

    def close(self) -> None:
        """Let every reader come to an end."""
        for reader in self._readers:
            reader.put_nowait(None)
        self._readers.clear()

    @contextmanager
    def subscribe(self) -> Iterator[asyncio.Queue[Transition | None]]:
        """A reader's queue; None in it is the end."""
        reader: asyncio.Queue[Transition | None] = asyncio.Queue()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def _drop(self, reader: asyncio.Queue[Transition | None]) -> None:
        self._readers.discard(reader)
        while not reader.empty():
            reader.get_nowait()
        reader.put_nowait(None)
