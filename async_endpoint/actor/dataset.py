"""The default dataset of a local run: a file per row, written by a process of its own (see `row_files`).

A row's number names its file, so a row that is written twice is still one row.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StartError
from ..jobs.database import Change
from . import row_files
from .rows import CURSOR, Row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..jobs.store import JobStore

_BASE = "rowBase"
_BOOT = "bootId"
_GIVEN = "rowsGiven"
_BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")


class LocalDataset:
    """Hands rows to the writing process, which is started when it is first needed.

    Args:
        folder: The dataset's folder.
        base: The number of files that were there before the first row.
    """

    def __init__(self, folder: Path, base: int) -> None:
        self._folder = folder
        self._base = base
        self._process: asyncio.subprocess.Process | None = None

    async def present(self, rows: Sequence[Row]) -> int:
        """Writing again is harmless, so nothing needs to be known."""
        return 0

    async def append(self, rows: Sequence[Row]) -> None:
        """Write the rows' files; raises OSError when not all could be written."""
        process = self._process = self._process or await self._start()
        if process.stdin is None or process.stdout is None:
            raise OSError("the process that writes rows has no pipes")
        try:
            lines = [b"%d %d\n%b" % (row.number, len(row.text), row.text) for row in rows]
            process.stdin.write(b"".join(lines) + b"0 0\n")
            await process.stdin.drain()
            answer = await process.stdout.readline()
        except OSError:
            answer = b""
        if not answer:
            await self.close()
            raise OSError("the process that writes rows has ended")
        if answer.startswith(b"!"):
            await self.close()  # the next try has a new one, with whatever limits hold then
            raise OSError(answer[2:].decode().strip())

    async def close(self) -> None:
        """Let the process end; it writes the metadata last."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await process.wait()

    async def _start(self) -> asyncio.subprocess.Process:
        """Start it outside the terminal's process group: an interrupt is for the service, which then closes it."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", row_files.__file__, str(self._folder), str(self._base)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )


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
        row_files.describe(folder, max(present, base))
    except OSError as exc:
        raise StartError(f"The dataset folder {folder} cannot be used: {exc}.") from exc
    boot = _boot_id()
    changes = [Change("meta", _BASE, b"%d" % base), Change("meta", _BOOT, boot)]
    if known is not None and store.get("meta", _BOOT) != boot:
        changes += [Change("meta", CURSOR, b"0"), Change("meta", _GIVEN, b"%d" % store.last_row())]
    store.write(changes)
    return LocalDataset(folder, base)


def _boot_id() -> bytes:
    """Changes when the machine restarts; where it cannot be read, every start counts as one."""
    try:
        return _BOOT_ID_FILE.read_bytes().strip()
    except OSError:
        return secrets.token_bytes(8)
