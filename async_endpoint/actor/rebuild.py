"""The store's file made from the replica: the newest snapshot that is whole, and every change after it."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ..errors import StoreError
from .head import KEY as HEAD_KEY
from .head import read_head
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
    from collections.abc import Iterable
    from pathlib import Path

    from .records import Records

logger = logging.getLogger(__name__)

_PARALLEL_READS = 16
_READ_AGAIN_SECONDS = (1.0, 2.0, 4.0)
"""A replica with a gap is read again after these gaps: a list of keys may lag behind the writes."""

_LOOK_AHEAD = 4
"""So many segments are looked for beyond the last one known: a write that failed leaves its number unused."""


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
    keys, head = await records.keys(PREFIX), await read_head(records)
    segments = await _fetch_segments(records, {*keys, *head.segments}, SegmentId(*head.following))
    snapshots = _snapshots({*keys, head.snapshot or ""})
    base = await _choose_base(records, snapshots, segments, head.number, path)
    number = base.log[-1].number if base.log else base.number
    needed = {
        s.id.key: s.frames[-1].number for s in segments if s.frames and s.frames[-1].number > base.number
    }
    return Rebuilt(
        number=number,
        epoch=max(head.following[0], *(s.id.epoch for s in segments), *(s.epoch for s in snapshots), 0),
        changes=await asyncio.to_thread(merged, base.log),
        segments=needed,
        snapshot=base.keys,
        leftovers=sorted({*keys} - {*needed, *base.keys, HEAD_KEY}),
    )


class _Base(NamedTuple):
    """A snapshot, by its number and keys, and the frames that follow it."""

    number: int
    keys: list[str]
    log: list[Frame]


async def _choose_base(
    records: Records, snapshots: list[SnapshotId], segments: list[Segment], least: int, path: Path
) -> _Base:
    """The newest snapshot that is whole; an older one is as good if all changes up to the newest follow.

    No change up to the number `least` may be missing.
    """
    failure: ReplicaError | None = None
    newest = max(least, snapshots[0].number if snapshots else 0)
    for snapshot in [*snapshots, None]:
        number = snapshot.number if snapshot else 0
        try:
            log = joined(segments, number)
            if max(number, log[-1].number if log else 0) < newest:
                raise ReplicaError(f"changes up to {newest} are missing")
            return _Base(number, await _read_base(records, snapshot, path), log)
        except ReplicaError as exc:
            failure = failure or exc
    assert failure is not None  # noqa: S101 - the loop ran at least once
    raise failure


async def _read_base(records: Records, snapshot: SnapshotId | None, path: Path) -> list[str]:
    remove_store_file(path)  # a part of another snapshot, whose rest is missing, may be there
    if snapshot is None:
        return []
    path.parent.mkdir(parents=True, exist_ok=True)
    return await read_snapshot(records, snapshot, path)


def _snapshots(keys: Iterable[str]) -> list[SnapshotId]:
    """The snapshots that have a manifest among these keys, the newest first."""
    return sorted((s for key in keys if (s := SnapshotId.parse(key)) and s.key == key), reverse=True)


async def _fetch_segments(records: Records, keys: Iterable[str], following: SegmentId) -> list[Segment]:
    """The segments of these keys, and those after them, which a list that lags does not show."""
    slots = asyncio.Semaphore(_PARALLEL_READS)

    async def fetch(segment: SegmentId) -> Segment | None:
        async with slots:
            body = await records.get(segment.key)
        return None if body is None else read_segment(segment, body)

    async def fetch_all(wanted: Iterable[SegmentId]) -> list[Segment]:
        return [segment for segment in await asyncio.gather(*map(fetch, wanted)) if segment]

    known = [segment for key in keys if (segment := SegmentId.parse(key))]
    found = await fetch_all(known)
    coming = max(following, *(segment.after(1) for segment in known), SegmentId(0, 0))
    while more := await fetch_all(coming.after(n) for n in range(_LOOK_AHEAD)):
        found += more
        coming = coming.after(_LOOK_AHEAD)
    return found
