"""A snapshot: the store's file as of one frame number, compressed and cut into records, with a manifest.

The manifest is written last, so that it names only parts that are there.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .records import MAX_RECORD_BYTES
from .segments import FORMAT, PREFIX, ReplicaError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from zlib import _Decompress

    from .records import Records

_CHUNK = 1 << 20
_PARALLEL_READS = 4


class SnapshotId(NamedTuple):
    """The last frame number that a snapshot holds, and the epoch that wrote it."""

    number: int
    epoch: int

    @property
    def key(self) -> str:
        """Key of the manifest; keys of the parts begin with it."""
        return f"{PREFIX}snapshot-{self.epoch:015d}-{self.number:012d}"

    @classmethod
    def parse(cls, key: str) -> SnapshotId | None:
        """The snapshot that a manifest's or a part's key belongs to, None for other keys."""
        kind, _, rest = key.removeprefix(PREFIX).partition("-")
        epoch, _, rest = rest.partition("-")
        number = rest.partition("-")[0]
        if kind != "snapshot" or not (epoch.isdecimal() and number.isdecimal()):
            return None
        return cls(int(number), int(epoch))


@dataclass(frozen=True)
class Part:
    """One record of a snapshot."""

    key: str
    size: int
    sha256: str


async def write_snapshot(records: Records, snapshot: SnapshotId, path: Path) -> list[str]:
    """Store the file; returns the keys written. Raises RecordsError, or OSError when it cannot be read."""
    parts: list[Part] = []
    pieces = _compressed(path)
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        body, digest = piece
        parts.append(Part(f"{snapshot.key}-{len(parts):04d}", len(body), digest))
        await records.put_in_background(parts[-1].key, body)
    manifest = {"format": FORMAT, "number": snapshot.number, "parts": [asdict(part) for part in parts]}
    await records.put_in_background(snapshot.key, json.dumps(manifest).encode())
    return [snapshot.key, *(part.key for part in parts)]


async def read_snapshot(records: Records, snapshot: SnapshotId, path: Path) -> list[str]:
    """Write the snapshot's file to `path`; returns the keys of its records.

    Raises:
        ReplicaError: A part is missing or not as it was written.
        RecordsError: The key-value store cannot be read.
    """
    parts = _read_manifest(snapshot, await records.get(snapshot.key))

    async def fetch(part: Part) -> bytes:
        return _checked(part, await records.get(part.key))

    unpacker = zlib.decompressobj()
    await asyncio.to_thread(path.write_bytes, b"")
    for start in range(0, len(parts), _PARALLEL_READS):  # all at once might not fit into memory
        bodies = await asyncio.gather(*map(fetch, parts[start : start + _PARALLEL_READS]))
        await asyncio.to_thread(_append, path, unpacker, bodies, last=start + len(bodies) == len(parts))
    return [snapshot.key, *(part.key for part in parts)]


def _compressed(path: Path) -> Iterator[tuple[bytes, str]]:
    """The file in pieces, each with its SHA-256."""
    packer, pending = zlib.compressobj(1), bytearray()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            pending += packer.compress(chunk)
            if len(pending) > MAX_RECORD_BYTES - 2 * _CHUNK:
                yield bytes(pending), hashlib.sha256(pending).hexdigest()
                pending.clear()
    pending += packer.flush()
    yield bytes(pending), hashlib.sha256(pending).hexdigest()


def _append(path: Path, unpacker: _Decompress, bodies: list[bytes], *, last: bool) -> None:
    """Write what the bodies hold to the end of the file, a piece at a time: it may be much larger than they are."""
    with path.open("ab") as file:
        for body in bodies:
            while body:
                file.write(unpacker.decompress(body, 4 * _CHUNK))
                body = unpacker.unconsumed_tail
        if last:
            file.write(unpacker.flush())


def _read_manifest(snapshot: SnapshotId, body: bytes | None) -> list[Part]:
    try:
        manifest: dict[str, Any] = json.loads(body or b"")
        if manifest["format"] != FORMAT or manifest["number"] != snapshot.number:
            raise ReplicaError(f"record {snapshot.key} is not a snapshot that this program can read")
        return [Part(**part) for part in manifest["parts"]]
    except (ValueError, KeyError, TypeError) as exc:
        raise ReplicaError(f"record {snapshot.key} cannot be read: {exc}") from exc


def _checked(part: Part, body: bytes | None) -> bytes:
    if body is None:
        raise ReplicaError(f"record {part.key} is missing")
    if hashlib.sha256(body).hexdigest() != part.sha256:
        raise ReplicaError(f"record {part.key} is damaged")
    return body
