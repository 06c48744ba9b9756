"""The head of a replica: one record that says what there must be, since a list of keys may lag behind writes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from .segments import FORMAT, PREFIX, ReplicaError, SegmentId

if TYPE_CHECKING:
    from .records import Records

KEY = f"{PREFIX}head"


@dataclass(frozen=True)
class Head:
    """What a replica consisted of at a time since which it has only been added to.

    Attributes:
        number: Of the last frame that it held.
        snapshot: Key of the snapshot's manifest; None without one.
        segments: Keys of the segments beside it.
        following: The segment that was to be written next, as its epoch and serial number.
    """

    number: int = 0
    snapshot: str | None = None
    segments: tuple[str, ...] = ()
    following: tuple[int, int] = (0, 0)

    def dump(self) -> bytes:
        """The record's body."""
        return json.dumps({"format": FORMAT, **asdict(self)}).encode()


async def read_head(records: Records) -> Head:
    """The head as stored; an empty one where there is none.

    Raises:
        ReplicaError: It is damaged, or in a format of another version.
        RecordsError: The key-value store cannot be read.
    """
    body = await records.get(KEY)
    if body is None:
        return Head()
    try:
        fields = json.loads(body)
        if fields["format"] != FORMAT:
            raise ReplicaError(f"record {KEY} has format {fields['format']}; this program knows {FORMAT}")
        following = SegmentId(*map(int, fields["following"]))
        return Head(int(fields["number"]), fields["snapshot"], tuple(fields["segments"]), following)
    except (ValueError, KeyError, TypeError) as exc:
        raise ReplicaError(f"record {KEY} cannot be read: {exc}") from exc
