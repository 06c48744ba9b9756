"""The SQLite file under the store: opened, checked, migrated, locked; changed in whole transactions.

Every table maps a key to a value. Who writes does not say what a value means, so that changes can be shipped
and replayed as they are. What lists must find is read off a job's header (see `records`) by generated columns.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

TABLES = ("jobs", "events", "idempotency", "deliveries", "owed", "items", "records", "meta")
"""The tables of the current schema.

`deliveries` is the ledger of webhooks and `owed` names those still open; `items` and `records` hold what jobs
write to storages of their own; `meta` holds cursors.
"""

_MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        key TEXT PRIMARY KEY NOT NULL,
        value BLOB NOT NULL,
        head TEXT AS (CAST(substr(value, 1, instr(value, x'0a') - 1) AS TEXT)) VIRTUAL,
        status TEXT AS (json_extract(head, '$.status')) VIRTUAL,
        type TEXT AS (json_extract(head, '$.type')) VIRTUAL,
        created INTEGER AS (json_extract(head, '$.created')) VIRTUAL,
        "row" INTEGER AS (json_extract(head, '$.row')) VIRTUAL,
        code TEXT AS (json_extract(head, '$.code')) VIRTUAL,
        cancel INTEGER AS (json_extract(head, '$.cancel')) VIRTUAL,
        attempt INTEGER AS (json_extract(head, '$.attempt')) VIRTUAL,
        preset TEXT AS (json_extract(head, '$.notes.preset')) VIRTUAL,
        run TEXT AS (json_extract(head, '$.notes.run')) VIRTUAL
    ) WITHOUT ROWID;
    CREATE INDEX jobs_listed ON jobs (key, status, type, created);
    CREATE INDEX jobs_ended ON jobs ("row") WHERE "row" IS NOT NULL;
    CREATE INDEX jobs_of_preset ON jobs (preset, key) WHERE preset IS NOT NULL;
    CREATE INDEX jobs_of_run ON jobs (run, key) WHERE run IS NOT NULL;
    """
    + "".join(
        f"CREATE TABLE {table} (key TEXT PRIMARY KEY NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;"
        for table in TABLES
        if table != "jobs"
    ),
)
"""Schema version n is reached by the first n scripts; a new version appends one."""


class Change(NamedTuple):
    """One value put under a key, or the key's removal (`value` is None).

    A function as value is called when the commit starts: a value that a later change of the same commit
    replaces is never made.
    """

    table: str
    key: str
    value: bytes | Callable[[], bytes] | None


class Journal(Protocol):
    """A place beyond this machine that every group of changes must reach before it counts."""

    async def append(self, changes: Changes) -> int:
        """Write a group; returns its sequence number.

        Raises when the group could not be written or the answer stayed unclear; the next call then carries what
        is left of the group under the same sequence number.
        """


Changes = Mapping[tuple[str, str], bytes | None]
"""The last value of each (table, key) that a transaction touches."""


class Database:
    """One SQLite file in WAL mode, owned by this process.

    Args:
        path: The file; folders above it are made.
        disposable: The truth is elsewhere, so commits need not survive a power loss.
        busy_timeout: How long to wait for a lock that another program holds, in seconds.
    """

    def __init__(self, path: Path, *, disposable: bool = False, busy_timeout: float = 1.0) -> None:
        self.path = path
        self._disposable = disposable
        self._busy_timeout = busy_timeout
        self._lock: int | None = None
        self._writer: sqlite3.Connection | None = None

    def open(self) -> None:
        """Take the file; raises StoreError when it is another's, damaged, or from a newer version."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._writer = self.connect()
            self._check()
            self._migrate()
        except (sqlite3.Error, OSError) as exc:
            self.close()
            raise StoreError(self._explain(exc)) from exc
        except StoreError:
            self.close()
            raise

    def purge(self) -> None:
        """Remove the file, unless another process uses it; to be called before `open`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        for suffix in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
        self.close()

    def connect(self) -> sqlite3.Connection:
        """A further connection, for one thread at a time."""
        connection = sqlite3.connect(
            self.path, timeout=self._busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {'OFF' if self._disposable else 'FULL'}")
            connection.execute("PRAGMA journal_size_limit = 16777216")
            connection.execute("PRAGMA cache_size = -4000")
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    def apply(self, changes: Changes) -> None:
        """Commit the changes, all or none."""
        with self._transaction() as connection:
            for statement, parameters in _statements(changes):
                connection.execute(statement, parameters)

    def copy(self, path: Path) -> None:
        """Write a consistent copy of all that is committed into a new file; may run beside commits, on any thread."""
        with closing(self.connect()) as connection:
            connection.execute("VACUUM INTO ?", (str(path),))

    def close(self) -> None:
        """Write the log back into the file and let it go."""
        if self._writer is not None:
            with closing(self._writer):
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._writer = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._writer
        if connection is None:
            raise sqlite3.ProgrammingError("the store is closed")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _take_lock(self) -> None:
        self._lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"The store {self.path} is used by another process. "
                "Stop it, or choose another storage folder."
            ) from None

    def _check(self) -> None:
        assert self._writer is not None  # noqa: S101 - open() made it
        version = self._version()
        if version > len(_MIGRATIONS):
            raise StoreError(
                f"The store {self.path} has schema version {version}; this program knows versions up to "
                f"{len(_MIGRATIONS)}. Run the newer program, or choose another storage folder."
            )
        if self._disposable:
            return  # it was made just now, of parts with checksums
        (verdict,) = self._writer.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(verdict)

    def _migrate(self) -> None:
        for number in range(self._version(), len(_MIGRATIONS)):
            with self._transaction() as connection:
                for statement in _MIGRATIONS[number].split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number + 1}")

    def _version(self) -> int:
        assert self._writer is not None  # noqa: S101 - open() made it
        version: int = self._writer.execute("PRAGMA user_version").fetchone()[0]
        return version

    def _explain(self, exc: Exception) -> str:
        if isinstance(exc, sqlite3.OperationalError) and "locked" in str(exc):
            return f"The store {self.path} is locked by another program. Close it there, then start again."
        if isinstance(exc, sqlite3.DatabaseError) and not isinstance(exc, sqlite3.OperationalError):
            return (
                f"The store {self.path} is damaged ({exc}). It was left as it is: restore it from a backup, "
                "or move it away to start empty."
            )
        return f"The store {self.path} cannot be opened: {exc}."


_MOST_ROWS = 64
"""Rows of one statement at most. Each statement waits anew for the interpreter's lock, so they should be few."""


def _statements(changes: Changes) -> Iterator[tuple[str, list[Any]]]:
    """What carries out the changes."""
    puts: dict[str, list[Any]] = {}
    for (table, key), value in changes.items():
        if value is None:
            yield f"DELETE FROM {table} WHERE key = ?", [key]  # noqa: S608 - one of TABLES
        else:
            puts.setdefault(table, []).extend((key, value))
    for table, parameters in puts.items():
        start = 0
        while start < len(parameters):
            rows = _rows_at_once(len(parameters) - start)
            yield _put(table, rows), parameters[start : start + 2 * rows]
            start += 2 * rows


def _rows_at_once(parameters: int) -> int:
    """A power of two: statements of a few sizes are compiled once and kept."""
    return min(1 << (parameters // 2).bit_length() - 1, _MOST_ROWS)


@lru_cache(maxsize=128)
def _put(table: str, rows: int) -> str:
    return (
        f"INSERT INTO {table} (key, value) VALUES {', '.join(['(?, ?)'] * rows)} "  # noqa: S608 - one of TABLES
        "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
    )
