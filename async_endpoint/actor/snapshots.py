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

    from .records import Records

_CHUNK = 1 << 20
_PARALLEL_READS = 8


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
    slots = asyncio.Semaphore(_PARALLEL_READS)

    async def fetch(part: Part) -> bytes:
        async with slots:
            return _checked(part, await records.get(part.key))

    bodies = await asyncio.gather(*map(fetch, parts))
    await asyncio.to_thread(_decompress, bodies, path)
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


def _decompress(bodies: list[bytes], path: Path) -> None:
    unpacker = zlib.decompressobj()
    with path.open("wb") as file:
        for body in bodies:
            file.write(unpacker.decompress(body))
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
