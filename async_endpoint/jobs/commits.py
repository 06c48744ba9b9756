"""Group commit: changes collect while a commit runs; the next one takes them all.

Nothing is told to anyone before the commit that holds it: what shall happen then is given along as a callback.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from ..errors import StoreUnavailable
from .clock import now_ms
from .database import Change, Changes, Database, Journal
from .thread import WorkThread

logger = logging.getLogger(__name__)

_LINGER_TURNS = 16
"""A commit with acceptances, or after one of a crowd, starts when nothing was added for a turn of the event loop, or
after so many in all. An effect-free job that starts at once and ends within its first step, or a job that
starts and ends while many do, is written once that way."""

_RETRY_SECONDS = 0.5
"""The gap between two tries of a commit that failed."""

_LAZY_SECONDS = 1.0

_CROWD = 8
_GATHER_SECONDS = 0.014
"""With a journal, a commit that follows one with a crowd of writers waits so long for them to come back."""

Callback = Callable[[], None]


class Write:
    """Some changes on their way into the store.

    Attributes:
        group: The commit that it was put into last.
        refused: It was taken back because that commit failed; it never happened.
        tried: A commit with it failed. Nothing joins it then: who did would overtake what that commit held.
    """

    __slots__ = ("changes", "follows", "group", "refused", "then", "tried", "undo")

    def __init__(
        self, changes: Iterable[Change], then: Callback | None, undo: Callback | None, follows: Write | None
    ) -> None:
        self.changes = changes
        self.then = then
        self.undo = undo
        self.follows = follows
        self.refused = False
        self.tried = False
        self.group: Group

    @property
    def open(self) -> bool:
        """Whether its commit has yet to start, so that more can join it."""
        return self.group.open and not self.tried

    def join(self, changes: Sequence[Change]) -> None:
        """Let more changes go with it, while it is open."""
        self.group.added += 1
        if changes:
            self.changes = (*self.changes, *changes)

    async def settled(self) -> None:
        """Wait for the commit.

        Raises:
            StoreUnavailable: It failed, or the one before it. A write with `undo` is gone then; any other is tried
                until it succeeds.
        """
        group = self.group
        await group.settled.wait()
        if group.error is not None:
            raise StoreUnavailable

    async def committed(self) -> None:
        """Wait until the commit succeeds, however often it is tried; for writes without `undo`."""
        while True:
            group = self.group
            await group.settled.wait()
            if group.error is None:
                return

    def let_go(self) -> None:
        """Drop what the write holds, now that it is committed.

        It hangs in cycles with the job's callbacks; the garbage collector would stop everything to find them.
        """
        self.changes = ()
        self.then = self.undo = self.follows = None


class Group:
    """The writes of one commit, in order.

    Attributes:
        added: How many writes were put in, and how often something joined one of them.
        waiters: How many writes have `undo`, so that somebody waits for an answer.
    """

    __slots__ = ("added", "error", "open", "settled", "waiters", "writes")

    def __init__(self) -> None:
        self.open = True
        self.writes: list[Write] = []
        self.added = 0
        self.waiters = 0
        self.settled = asyncio.Event()
        self.error: Exception | None = None

    def merged(self) -> dict[tuple[str, str], bytes | None]:
        """The last value of each key, in the order in which they were written."""
        last: dict[tuple[str, str], bytes | Callable[[], bytes] | None] = {}
        for write in self.writes:
            for table, key, value in write.changes:
                place = (table, key)
                last.pop(place, None)
                last[place] = value
        return {place: value() if callable(value) else value for place, value in last.items()}


class GroupCommit:
    """Commits writes in order, one transaction at a time, on a thread of its own.

    Args:
        database: The open database.
        journal: Where changes must be, beyond this machine, before they are committed here.
        observe: Told the number of changes of each commit.
    """

    def __init__(
        self, database: Database, journal: Journal | None = None, observe: Callable[[int], None] | None = None
    ) -> None:
        self.failure: Exception | None = None
        self._database = database
        self._journal = journal
        self._observe = observe
        self._open = Group()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._busy = False
        self._crowd = 0
        self._gathered = asyncio.Event()
        self._idle.set()
        self._thread = WorkThread("store-writer")
        self._task = asyncio.create_task(self._run(), name="store-commits")

    def write(
        self,
        changes: Iterable[Change],
        then: Callback | None = None,
        *,
        undo: Callback | None = None,
        follows: Write | None = None,
        lazy: bool = False,
    ) -> Write:
        """Put changes into the open commit.

        Args:
            changes: Applied together with everything else of the commit, or not at all.
            then: Called on the loop once they are committed.
            undo: Take them back if the commit fails, instead of trying until it succeeds, and call this.
            follows: A write with `undo` without which this one makes no sense.
            lazy: Nobody waits for it, so it goes with the next commit, or has one of its own after a second.
        """
        write = Write(changes, then, undo, follows)
        group = write.group = self._open
        if not group.writes:
            self._idle.clear()
        group.writes.append(write)
        group.added += 1
        if undo is not None:
            group.waiters += 1
            if group.waiters == self._crowd:
                self._gathered.set()
        if lazy:
            asyncio.get_running_loop().call_later(_LAZY_SECONDS, self._hasten)
        else:
            self._wake.set()
        return write

    async def flush(self) -> None:
        """Wait until everything written so far is committed."""
        self._hasten()
        await self._idle.wait()

    async def close(self) -> None:
        """Stop; what is not committed is dropped."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._thread.close()

    def _hasten(self) -> None:
        if self._open.writes:
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await self._linger()
            if self._journal is not None:
                await self._gather()
            self._wake.clear()
            group, self._open = self._open, Group()
            group.open = False
            self._busy = len(group.writes) >= _CROWD
            try:
                await self._commit(group)
            except Exception as exc:
                self._fail(group, exc)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                self._succeed(group)
            self._crowd = group.waiters + self._open.waiters

    async def _linger(self) -> None:
        """Let jobs that are about to be accepted come further, and a crowd gather; a lone end is not held up."""
        if not self._open.waiters and not self._busy:
            return
        for _ in range(_LINGER_TURNS):
            added = self._open.added
            await asyncio.sleep(0)
            if self._open.added == added:
                return

    async def _gather(self) -> None:
        """Wait for the crowd that the last commit answered: one round trip can carry all of it again."""
        if _CROWD <= self._crowd > self._open.waiters:
            self._gathered.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._gathered.wait(), _GATHER_SECONDS)

    async def _commit(self, group: Group) -> None:
        changes = group.merged()
        if self._journal is not None:
            sequence = await self._journal.append(changes)
            changes[("meta", "journalSequence")] = b"%d" % sequence
        await self._apply(changes)
        if self._observe is not None:
            self._observe(len(changes))

    async def _apply(self, changes: Changes) -> None:
        """Apply the changes here; again and again once the journal has them, for then they count."""
        while True:
            try:
                return await self._thread.call(self._database.apply, changes)
            except Exception as exc:
                if self._journal is None:
                    raise
                self._note(exc)
            await asyncio.sleep(_RETRY_SECONDS)

    def _note(self, failure: Exception) -> None:
        if self.failure is None:
            logger.error("store cannot commit, trying again: %s", failure)
        self.failure = failure

    def _succeed(self, group: Group) -> None:
        if self.failure is not None:
            self.failure = None
            logger.info("store commits again")
        for write in group.writes:
            _call(write.then)
            write.let_go()
        group.writes.clear()
        group.settled.set()
        if not self._open.writes:
            self._idle.set()

    def _fail(self, group: Group, exc: Exception) -> None:
        """Refuse what can be undone, here and in the next commit, which may take as long to fail; keep the rest."""
        self._note(exc)
        waiting, self._open = self._open, Group()
        for write in group.writes:
            write.tried = True
        for write in self._sift(group.writes + waiting.writes):
            write.group = self._open
            self._open.writes.append(write)
        for failed in (group, waiting):
            failed.open = False
            failed.error = exc
            failed.settled.set()
        self.write([Change("meta", "lastFailure", b'"%d"' % now_ms())])

    def _sift(self, writes: list[Write]) -> list[Write]:
        """The writes that are kept after a failure; the others are told."""
        kept = []
        for write in writes:
            if write.follows is not None and write.follows.refused:
                write.refused = True
            elif write.undo is not None:
                write.refused = True
                _call(write.undo)
            else:
                kept.append(write)
        return kept


def _call(callback: Callback | None) -> None:
    if callback is None:
        return
    try:
        callback()
    except Exception:
        logger.exception("a callback of a commit failed")
