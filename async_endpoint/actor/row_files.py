"""A small program of its own that writes rows as files: what is spent here is not taken from the event loop.

    python row_files.py FOLDER BASE

Reads rows from standard input, each as a line `NUMBER SIZE` and SIZE bytes; a line `0 0` ends a batch, which is then
answered by a line with the number of items, or by `! ` and what went wrong. Ends with its input. Files are in the
layout of the Apify SDK: `000000001.json` and on, beside `__metadata__.json`.
"""

from __future__ import annotations

import json
import os
import secrets
import string
import sys
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

METADATA = "__metadata__.json"

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
_DESCRIBE_SECONDS = 1.0


def describe(folder: Path, count: int) -> None:
    """Write the dataset's metadata file, keeping its id and the time it was made."""
    now = datetime.now(timezone.utc).isoformat()  # noqa: UP017 - without the package's imports
    path = folder / METADATA
    try:
        metadata = json.loads(path.read_bytes())
        metadata["item_count"]
    except (OSError, ValueError, KeyError, TypeError):
        alphabet = string.ascii_letters + string.digits
        new_id = "".join(secrets.choice(alphabet) for _ in range(17))
        metadata = {"id": new_id, "name": None, "created_at": now}
    metadata.update(accessed_at=now, modified_at=now, item_count=count)
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(metadata, indent=2), encoding="utf-8")
    draft.replace(path)


def _described(folder: Path) -> int:
    """How many items the metadata file tells of."""
    try:
        return int(json.loads((folder / METADATA).read_bytes())["item_count"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


class RowFiles:
    """The files of one dataset; `base` files were there before row 1."""

    def __init__(self, folder: Path, base: int) -> None:
        self._folder = folder
        self._base = base
        self._count = max(base, _described(folder))
        self._described_at = 0.0

    def serve(self, rows: BinaryIO, answers: BinaryIO) -> None:
        """Write rows until the input ends; a row that is cut off by the end is none."""
        problem = ""
        while (header := rows.readline()).endswith(b"\n"):
            number, size = map(int, header.split())
            text = rows.read(size)
            if len(text) < size:
                break
            try:
                if number and not problem:
                    self._write(number, text)
                elif not number:
                    self._describe_now_and_then()
            except OSError as exc:
                problem = str(exc)
            if not number:
                answers.write(f"! {problem}\n".encode() if problem else b"%d\n" % self._count)
                answers.flush()
                problem = ""
        with suppress(OSError):
            describe(self._folder, self._count)

    def _write(self, number: int, text: bytes) -> None:
        file = os.open(f"{self._folder}/{self._base + number:09d}.json", _NEW_FILE, 0o644)
        try:
            written = os.write(file, text)
            while written < len(text):
                written += os.write(file, text[written:])
        finally:
            os.close(file)
        self._count = max(self._count, self._base + number)

    def _describe_now_and_then(self) -> None:
        if time.monotonic() - self._described_at > _DESCRIBE_SECONDS:
            describe(self._folder, self._count)
            self._described_at = time.monotonic()


if __name__ == "__main__":
    RowFiles(Path(sys.argv[1]), int(sys.argv[2])).serve(sys.stdin.buffer, sys.stdout.buffer)
