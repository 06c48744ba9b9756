"""The store's file made from the replica: the newest snapshot that is whole, and every change after it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..errors import StoreError
from .records import RecordsError
from .segments import (
    PREFIX,
    Frame,
    ReplicaError,
    Segment,
    SegmentId,
    joined,
    merged,
    read_segment,
)
from .snapshots import SnapshotId, read_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from .records import Records

logger = logging.getLogger(__name__)

_PARALLEL_READS = 16
_READ_AGAIN_SECONDS = (1.0, 2.0, 4.0)
"""A replica with a gap is read again after these gaps: a list of keys may lag behind the writes."""


@dataclass
class Rebuilt:
    """What the replica holds.

    Attributes:
        number: Of its last confirmed frame, 0 when it is empty.
        epoch: The newest in any key.
        changes: To be applied to the file, the last value of each key.
        segments: Keys of the segments that the file needs, with the number of their last frames.
        snapshot: Keys of the snapshot that was used.
        leftovers: Keys that nothing needs any more.
    """

    number: int = 0
    epoch: int = 0
    changes: dict[tuple[str, str], bytes | None] = field(default_factory=dict)
    segments: dict[str, int] = field(default_factory=dict)
    snapshot: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


async def rebuild(records: Records, path: Path) -> Rebuilt:
    """Write the store's file, in place of what is there, and return what is still to be applied to it.

    Raises:
        StoreError: The replica cannot be read, or is not whole.
    """
    for pause in (*_READ_AGAIN_SECONDS, None):
        remove_store_file(path)
        try:
            return await _rebuild_once(records, path)
        except RecordsError as exc:
            raise StoreError(f"The jobs of this run cannot be restored: {exc}.") from exc
        except ReplicaError as exc:
            if pause is None:
                raise StoreError(
                    f"The jobs of this run cannot be restored: {exc}. Nothing was changed. To start without "
                    f"them, remove the records whose keys begin with {PREFIX!r} from the run's default "
                    "key-value store, or start a run with fresh storages."
                ) from exc
            logger.warning("the copy of the store is not whole yet (%s), reading it again", exc)
            await asyncio.sleep(pause)
    raise AssertionError("unreachable")


def remove_store_file(path: Path) -> None:
    """Remove an SQLite file with its companions."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


async def _rebuild_once(records: Records, path: Path) -> Rebuilt:
    keys = await records.keys(PREFIX)
    segments = await _fetch_segments(records, [found for key in keys if (found := SegmentId.parse(key))])
    snapshots = sorted((s for key in keys if (s := SnapshotId.parse(key)) and s.key == key), reverse=True)
    base, log = await _choose_base(records, snapshots, segments, path)
    number = log[-1].number if log else base.number if base else 0
    needed = {
        s.id.key: s.frames[-1].number for s in segments if s.frames and s.frames[-1].number > _number(base)
    }
    used = [key for key in keys if base and SnapshotId.parse(key) == base]
    return Rebuilt(
        number=number,
        epoch=max([s.id.epoch for s in segments] + [snapshot.epoch for snapshot in snapshots], default=0),
        changes=await asyncio.to_thread(merged, log),
        segments=needed,
        snapshot=used,
        leftovers=[key for key in keys if key not in needed and key not in used],
    )


async def _choose_base(
    records: Records, snapshots: list[SnapshotId], segments: list[Segment], path: Path
) -> tuple[SnapshotId | None, list[Frame]]:
    """The newest snapshot that is whole; an older one is as good if all changes up to the newest follow."""
    failure: ReplicaError | None = None
    newest = _number(snapshots[0]) if snapshots else 0
    for snapshot in [*snapshots, None]:
        try:
            log = joined(segments, _number(snapshot))
            if max(_number(snapshot), log[-1].number if log else 0) < newest:
                raise ReplicaError(f"changes up to {newest} are missing")
            if snapshot is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                await read_snapshot(records, snapshot, path)
            return snapshot, log
        except ReplicaError as exc:
            failure = failure or exc
    assert failure is not None  # noqa: S101 - the loop ran at least once
    raise failure


def _number(snapshot: SnapshotId | None) -> int:
    return snapshot.number if snapshot else 0


async def _fetch_segments(records: Records, listed: list[SegmentId]) -> list[Segment]:
    slots = asyncio.Semaphore(_PARALLEL_READS)

    async def fetch(segment: SegmentId) -> Segment | None:
        async with slots:
            body = await records.get(segment.key)
        return None if body is None else read_segment(segment, body)

    found = [segment for segment in await asyncio.gather(*map(fetch, listed)) if segment]
    return found + await _unlisted(records, max(listed, default=None))


async def _unlisted(records: Records, last: SegmentId | None) -> list[Segment]:
    """Segments after the last one of the list, which may lag behind."""
    found: list[Segment] = []
    while last is not None:
        last = SegmentId(last.epoch, last.serial + 1)
        body = await records.get(last.key)
        if body is None:
            break
        found.append(read_segment(last, body))
    return found
