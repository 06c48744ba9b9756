"""How groups of changes are written into records: numbered frames in segments.

A segment is one record: a line of JSON that says where it stands, then frames. A frame holds changes, has
the number after its predecessor's, and a checksum; a group too large for one frame goes on in the next ones.
Segments are ordered by epoch (one start of the service) and serial number. One that begins with a number that
an earlier one has used replaces that frame and all after it: they belong to a write never confirmed.
"""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FORMAT = 1
PREFIX = "jobs-replica-"
_FRAME = struct.Struct(">QBII")
_MORE = 1
_ABSENT = 0xFFFF_FFFF
_LENGTHS = struct.Struct(">BII")

MAX_FRAME_BYTES = 4_000_000
"""Most bytes of one frame; a record stays far below the platform's limit."""


class ReplicaError(Exception):
    """What is in the key-value store is not a whole replica, so nothing is guessed from it."""


class SegmentId(NamedTuple):
    """Where a segment stands among all others."""

    epoch: int
    serial: int

    @property
    def key(self) -> str:
        """The record's key."""
        return f"{PREFIX}segment-{self.epoch:015d}-{self.serial:09d}"

    def after(self, count: int) -> SegmentId:
        """The segment of the same epoch so many places further."""
        return SegmentId(self.epoch, self.serial + count)

    @classmethod
    def parse(cls, key: str) -> SegmentId | None:
        """The segment of a key, None where it is the key of something else."""
        kind, _, rest = key.removeprefix(PREFIX).partition("-")
        epoch, _, index = rest.partition("-")
        return (
            cls(int(epoch), int(index))
            if kind == "segment" and epoch.isdecimal() and index.isdecimal()
            else None
        )


class Frame(NamedTuple):
    """Some changes under a number; `more` when the group goes on in the next frame."""

    number: int
    more: bool
    payload: bytes


@dataclass(frozen=True)
class Segment:
    """A record that was read and checked."""

    id: SegmentId
    first: int
    frames: tuple[Frame, ...]


def header(segment: SegmentId, first: int) -> bytes:
    """The first line of a segment whose first frame has (or will have) the number `first`."""
    head = {"format": FORMAT, "epoch": segment.epoch, "serial": segment.serial, "first": first}
    return json.dumps(head, separators=(",", ":")).encode() + b"\n"


def frames(changes: Mapping[tuple[str, str], bytes | None], first: int) -> list[bytes]:
    """A group of changes as frames with consecutive numbers; blocks for about 10 ms a megabyte."""
    packed = zlib.compress(_pack(changes), 1)
    parts = [packed[at : at + MAX_FRAME_BYTES] for at in range(0, len(packed), MAX_FRAME_BYTES)]
    return [_frame(first + n, part, more=n < len(parts) - 1) for n, part in enumerate(parts)]


def unpack(payload: bytes) -> Iterator[tuple[tuple[str, str], bytes | None]]:
    """The changes of a whole group, from the joined payloads of its frames."""
    data, at = zlib.decompress(payload), 0
    while at < len(data):
        table_length, key_length, length = _LENGTHS.unpack_from(data, at)
        at += _LENGTHS.size
        table = data[at : (at := at + table_length)].decode()
        key = data[at : (at := at + key_length)].decode("utf-8", "surrogatepass")
        yield (table, key), (None if length == _ABSENT else data[at : (at := at + length)])


def read_segment(segment: SegmentId, body: bytes) -> Segment:
    """Take a record apart; raises ReplicaError where anything is not as it was written."""
    try:
        end = body.index(b"\n") + 1
        head = json.loads(body[:end])
        if head["format"] != FORMAT:
            raise ReplicaError(
                f"record {segment.key} has format {head['format']}; this program knows {FORMAT}"
            )
        if [head["epoch"], head["serial"]] != list(segment):
            raise ReplicaError(f"record {segment.key} holds another segment")
        return Segment(segment, head["first"], tuple(_read_frames(segment, head["first"], body, end)))
    except (ValueError, KeyError, TypeError) as exc:
        raise ReplicaError(f"record {segment.key} cannot be read: {exc}") from exc


def _read_frames(segment: SegmentId, number: int, body: bytes, at: int) -> Iterator[Frame]:
    while at < len(body):
        if len(body) < at + _FRAME.size:
            raise ReplicaError(f"record {segment.key} ends within a frame")
        found, flags, length, checksum = _FRAME.unpack_from(body, at)
        payload = body[at + _FRAME.size : at + _FRAME.size + length]
        if found != number or len(payload) != length or checksum != _checksum(found, flags, payload):
            raise ReplicaError(f"frame {number} in record {segment.key} is damaged")
        yield Frame(number, bool(flags & _MORE), payload)
        number, at = number + 1, at + _FRAME.size + length


def _frame(number: int, payload: bytes, *, more: bool) -> bytes:
    flags = _MORE if more else 0
    return _FRAME.pack(number, flags, len(payload), _checksum(number, flags, payload)) + payload


def _checksum(number: int, flags: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(b"%d %d" % (number, flags)))


def _pack(changes: Mapping[tuple[str, str], bytes | None]) -> bytes:
    return b"".join(_pack_one(table, key, value) for (table, key), value in changes.items())


def _pack_one(table: str, key: str, value: bytes | None) -> bytes:
    name, label = table.encode(), key.encode("utf-8", "surrogatepass")
    lengths = _LENGTHS.pack(len(name), len(label), _ABSENT if value is None else len(value))
    return lengths + name + label + (value or b"")


def joined(segments: Iterable[Segment], base: int) -> list[Frame]:
    """The frames after number `base`, in order and without a gap; an unconfirmed end of a group is left out.

    Raises:
        ReplicaError: A number is missing.
    """
    log: list[Frame] = []
    for segment in sorted(segments, key=lambda each: each.id):
        while log and log[-1].number >= segment.first:
            log.pop()
        following = [frame for frame in segment.frames if frame.number > base]
        expected = (log[-1].number if log else base) + 1
        if following and following[0].number != expected:
            raise ReplicaError(f"changes {expected} to {following[0].number - 1} are missing")
        log += following
    while log and log[-1].more:
        log.pop()
    return log


def merged(log: Iterable[Frame]) -> dict[tuple[str, str], bytes | None]:
    """The last value of each key that the frames touch."""
    changes: dict[tuple[str, str], bytes | None] = {}
    open_group: list[bytes] = []
    for frame in log:
        open_group.append(frame.payload)
        if not frame.more:
            changes.update(unpack(b"".join(open_group)))
            open_group.clear()
    return changes
