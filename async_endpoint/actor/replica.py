"""The store's copy in the run's key-value store: acknowledged jobs survive the loss of the machine.

The store hands over every group of changes before it commits it. With durability `full` a group counts once
its record is written; with `snapshot` it is written within a second. Now and then the store's file becomes a
snapshot, and the segments that it covers are removed.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .head import KEY as HEAD_KEY
from .head import Head
from .rebuild import rebuild
from .records import RecordsError
from .segments import SegmentId, frames, header
from .snapshots import SnapshotId, write_snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from ..jobs.database import Changes
    from .records import Records

logger = logging.getLogger(__name__)

_SEGMENT_BYTES = 64_000
"""A segment is written again, longer, until it has this size: fewer records to read and to remove."""

_RUN_BYTES = 4_000_000
"""Frames that are written at once, at most."""

_PATIENCE = 6.0
"""Seconds for which a group is tried before the store is told that it was not written."""

_RETRY_GAPS = (0.05, 0.1, 0.2, 0.4, 0.8, 1.0)
_FLUSH_SECONDS = 0.5
"""How long changes wait with durability `snapshot`."""

_BUFFER_BYTES = 32_000_000
"""Changes that wait at most; beyond it the store waits."""

_COMPACT_SEGMENTS = 200
_COMPACT_BYTES = 16_000_000
_COMPACT_PAUSE = 5.0
_COMPACT_SHARE = 4
"""A snapshot is due at so many segments or bytes since the last. At least so many seconds, and so many times as long
as the last one took, lie between: a small machine has other work."""

_PARALLEL_PACK = 100_000
"""Groups of more bytes than this are compressed off the loop."""


class Replica:
    """Writes groups of changes into the key-value store, in order and one at a time: the store's `Journal`.

    Args:
        records: The run's default key-value store.
        wait: Whether a group counts only once it is written (`full`), or is written soon after (`snapshot`).
    """

    def __init__(self, records: Records, *, wait: bool = True) -> None:
        self._records = records
        self._wait = wait
        self._number = 0
        self._segment: _OpenSegment | None = None
        self._next = SegmentId(0, 0)
        self._head_written = False
        self._segments: dict[str, int] = {}
        self._segment_bytes = 0
        self._snapshot: list[str] = []
        self._leftovers: list[str] = []
        self._buffer: list[bytes] = []
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._copy: Callable[[Path], None] | None = None
        self._compact_after = 0.0
        self._compacting = False

    async def restore(self, path: Path) -> Changes:
        """Write the store's file anew from the replica; returns the changes to apply to it.

        Raises:
            StoreError: The replica cannot be read, or is not whole.
        """
        found = await rebuild(self._records, path)
        self._number = found.number
        self._next = SegmentId(max(time.time_ns() // 1_000_000, found.epoch + 1), 0)
        self._segments, self._snapshot, self._leftovers = found.segments, found.snapshot, found.leftovers
        if found.number:
            logger.info("restored the store as of change %d", found.number)
        return {**found.changes, ("meta", "journalSequence"): b"%d" % found.number}

    def start(self, copy: Callable[[Path], None]) -> None:
        """Begin the work in the background.

        Args:
            copy: Writes a consistent copy of the store into a new file; called on a thread.
        """
        self._copy = copy
        if not self._wait:
            self._spawn(self._flush_regularly())
        self._compact_if_due()

    async def append(self, changes: Changes) -> int:
        """Write a group of changes; returns its number.

        Raises:
            RecordsError: It may have been written or not; the next group takes its number, which voids it.
        """
        group = await self._frames(changes)
        if self._wait:
            async with self._writing:
                await self._write(group, self._number + 1)
        else:
            await self._make_room()
            self._buffer += group
        self._number += len(group)
        self._compact_if_due()
        return self._number

    async def flush(self) -> None:
        """Write what waits; raises RecordsError."""
        if self._wait:
            return
        async with self._writing:
            waiting, self._buffer = self._buffer, []
            try:
                await self._write(waiting, self._number - len(waiting) + 1)
            except BaseException:
                self._buffer = waiting + self._buffer
                raise

    async def close(self) -> None:
        """Stop the work in the background, and write what waits as far as that is possible now."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.flush()
        except RecordsError as exc:
            logger.error("the last changes are not in the key-value store: %s", exc)

    async def _frames(self, changes: Changes) -> list[bytes]:
        size = sum(len(value or b"") for value in changes.values())
        if size > _PARALLEL_PACK:
            return await asyncio.to_thread(frames, changes, self._number + 1)
        return frames(changes, self._number + 1)

    # Segments

    async def _write(self, group: list[bytes], first: int) -> None:
        if group and not self._head_written:
            await self._write_head(first - 1)
        while group:
            size, count = 0, 0
            while count < len(group) and (count == 0 or size + len(group[count]) <= _RUN_BYTES):
                size, count = size + len(group[count]), count + 1
            await self._write_run(b"".join(group[:count]), first, first + count - 1)
            group, first = group[count:], first + count

    async def _write_run(self, run: bytes, first: int, last: int) -> None:
        segment = self._segment
        if segment is None or len(segment.body) + len(run) > _SEGMENT_BYTES:
            segment = self._open_segment(first)
        # A write without a clear answer may arrive late: it must not undo a later one to the same record.
        self._segment = None
        body = segment.body + run
        self._segments[segment.id.key] = last
        self._segment_bytes += len(run)
        if await self._put(segment.id.key, body):
            self._segment = _OpenSegment(segment.id, body)

    def _open_segment(self, first: int) -> _OpenSegment:
        segment, self._next = self._next, self._next.after(1)
        return _OpenSegment(segment, header(segment, first))

    async def _write_head(self, number: int) -> None:
        """Say what there is, as of this frame: before the first segment of an epoch, and after a snapshot."""
        snapshot = self._snapshot[0] if self._snapshot else None
        head = Head(number, snapshot, tuple(self._segments), self._next)
        await self._put(HEAD_KEY, head.dump())
        self._head_written = True

    async def _put(self, key: str, body: bytes) -> bool:
        """Write a record, trying again for a while; False when an earlier try got no clear answer."""
        started = time.monotonic()
        for attempt in range(1_000_000):
            try:
                await self._records.put(key, body)
            except RecordsError as exc:
                logger.debug("%s", exc)
                if time.monotonic() - started > _PATIENCE:
                    raise
                await asyncio.sleep(_RETRY_GAPS[min(attempt, len(_RETRY_GAPS) - 1)])
            else:
                return attempt == 0
        raise AssertionError("unreachable")

    # Durability `snapshot`

    async def _make_room(self) -> None:
        while sum(map(len, self._buffer)) > _BUFFER_BYTES:
            await self.flush()

    async def _flush_regularly(self) -> None:
        while True:
            await asyncio.sleep(_FLUSH_SECONDS)
            try:
                await self.flush()
            except RecordsError as exc:
                logger.warning("changes wait to be copied: %s", exc)

    # Compaction

    def _compact_if_due(self) -> None:
        due = len(self._segments) >= _COMPACT_SEGMENTS or self._segment_bytes >= _COMPACT_BYTES
        due = due or len(self._leftovers) >= _COMPACT_SEGMENTS
        if due and self._copy and not self._compacting and time.monotonic() >= self._compact_after:
            self._compacting = True
            self._spawn(self._compact(self._copy))

    async def _compact(self, copy: Callable[[Path], None]) -> None:
        began = time.monotonic()
        try:
            await self._replace_segments(copy)
        except (RecordsError, sqlite3.Error, OSError) as exc:
            logger.warning("the snapshot of the store is put off: %s", exc)
        finally:
            now = time.monotonic()
            self._compact_after = now + max(_COMPACT_PAUSE, _COMPACT_SHARE * (now - began))
            self._compacting = False

    async def _replace_segments(self, copy: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory(prefix="jobs-snapshot-") as folder:
            path = Path(folder, "jobs.sqlite")
            number = await asyncio.to_thread(_copy_numbered, copy, path)
            written = await write_snapshot(self._records, SnapshotId(number, self._next.epoch), path)
        async with self._writing:
            self._segment = None  # it may be one of those that go
            covered = [key for key, last in self._segments.items() if last <= number]
            self._leftovers += [key for key in self._snapshot if key not in written] + covered
            for key in covered:
                del self._segments[key]
            self._snapshot, self._segment_bytes = written, 0
            await self._write_head(number)
        await self._remove_leftovers()

    async def _remove_leftovers(self) -> None:
        while self._leftovers:
            await self._records.remove(self._leftovers[-1])
            self._leftovers.pop()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="replica")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _OpenSegment(NamedTuple):
    """A segment that can still grow."""

    id: SegmentId
    body: bytes


def _copy_numbered(copy: Callable[[Path], None], path: Path) -> int:
    copy(path)
    with closing(sqlite3.connect(path)) as connection:
        (number,) = connection.execute("SELECT value FROM meta WHERE key = 'journalSequence'").fetchone()
    return int(number)
