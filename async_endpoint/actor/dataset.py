"""Rows as files in the layout of the Apify SDK: `000000001.json` and on, beside `__metadata__.json`.

A row's number names its file, so a row that is written twice is still one row.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import string
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StartError
from ..jobs.database import Change
from .rows import CURSOR, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..jobs.store import JobStore

_METADATA = "__metadata__.json"
_BASE = "rowBase"
_BOOT = "bootId"
_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
_METADATA_SECONDS = 1.0
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


class LocalDataset:
    """The default dataset of a local run.

    Args:
        folder: The dataset's folder.
        base: The number of files that were there before the first row.
    """

    def __init__(self, folder: Path, base: int) -> None:
        self._folder = folder
        self._base = base
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rows")
        self._described_at = 0.0
        self._count = base

    async def present(self, rows: Sequence[Row]) -> int:
        """Writing again is harmless, so nothing needs to be known."""
        return 0

    async def append(self, rows: Sequence[Row]) -> None:
        """Write the rows' files."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._write, rows)

    async def close(self) -> None:
        """Write the metadata."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._describe)
        self._thread.shutdown()

    def _write(self, rows: Sequence[Row]) -> None:
        folder, base = str(self._folder), self._base
        for row in rows:
            file = os.open(f"{folder}/{base + row.number:09d}.json", _NEW_FILE, 0o644)
            try:
                _write_all(file, row.text)
            finally:
                os.close(file)
        self._count = max(self._count, base + rows[-1].number)
        if time.monotonic() - self._described_at > _METADATA_SECONDS:
            self._describe()

    def _describe(self) -> None:
        describe(self._folder, self._count)
        self._described_at = time.monotonic()


def open_dataset(folder: Path, store: JobStore) -> LocalDataset:
    """Open the dataset that belongs to a store; raises StartError where its folder cannot be written.

    A new store goes on after the files that are there. After a restart of the machine every row that the store
    still holds is written again, since files that were never flushed to disk may be gone.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        present = max((int(path.stem) for path in folder.glob("*.json") if path.stem.isdigit()), default=0)
        known = store.get("meta", _BASE)
        base = present if known is None else int(known)
        boot = _boot_id()
        changes = [Change("meta", _BASE, b"%d" % base), Change("meta", _BOOT, boot)]
        if known is not None and store.get("meta", _BOOT) != boot:
            changes.append(Change("meta", CURSOR, b"0"))
        store.write(changes)
        describe(folder, max(present, base))
    except OSError as exc:
        raise StartError(f"The dataset folder {folder} cannot be used: {exc}.") from exc
    return LocalDataset(folder, base)


def describe(folder: Path, count: int) -> None:
    """Write the dataset's metadata file, keeping its id and the time it was made."""
    now = datetime.now(UTC).isoformat()
    path = folder / _METADATA
    try:
        metadata = json.loads(path.read_bytes())
        metadata["item_count"]
    except (OSError, ValueError, KeyError, TypeError):
        alphabet = string.ascii_letters + string.digits
        metadata = {
            "id": "".join(secrets.choice(alphabet) for _ in range(17)),
            "name": None,
            "created_at": now,
        }
    metadata.update(accessed_at=now, modified_at=now, item_count=count)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    draft.replace(path)


def _write_all(file: int, text: bytes) -> None:
    written = os.write(file, text)
    while written < len(text):
        written += os.write(file, text[written:])


def _boot_id() -> bytes:
    """Changes when the machine restarts; where it cannot be read, every start counts as one."""
    try:
        return _BOOT_ID_FILE.read_bytes().strip()
    except OSError:
        return secrets.token_bytes(8)
