"""The durable table of jobs: one database, one group commit, and the questions that are asked of them."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from .commits import Callback, GroupCommit, Write
from .database import Change, Database, Journal
from .model import ACTIVE_STATUSES, Job
from .records import decode, snapshot_line

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

_PAGE_BYTES = 8 * 1024 * 1024
"""A page of jobs ends once it holds this much."""

_FLUSH_AT_CLOSE_SECONDS = 10


class Page(NamedTuple):
    """Some jobs, newest first; `next_key` continues after them, None at the end."""

    snapshots: list[bytes]
    next_key: str | None


class Filters(NamedTuple):
    """Which jobs a list shows; times are milliseconds since the epoch, both bounds exclusive."""

    status: str | None = None
    type: str | None = None
    created_after: int | None = None
    created_before: int | None = None


class EndedJob(NamedTuple):
    """What retention needs to know; `finished` in milliseconds since the epoch."""

    id: str
    row: int
    finished: int
    idempotency: str | None


class JobStore:
    """Jobs, their events and what their ends owe, in one SQLite file.

    Reads of one key run at once on the caller's thread: they take some 15 µs and never wait for the writer. Lists run
    on a thread of their own. Reads see committed data only.

    Args:
        path: The SQLite file.
        journal: Where every commit must be, beyond this machine, before it counts. The file is only a cache then.
        observe: Told the number of changes of each commit.
    """

    def __init__(
        self, path: Path, *, journal: Journal | None = None, observe: Callable[[int], None] | None = None
    ) -> None:
        self.database = Database(path, disposable=journal is not None)
        self._journal = journal
        self._observe = observe

    async def open(self) -> None:
        """Open the file and start to commit; raises StoreError when the file cannot be used."""
        await asyncio.to_thread(self.database.open)
        self._reader = self.database.connect()
        self._lister = ThreadPoolExecutor(1, thread_name_prefix="store-lists")
        self._commits = GroupCommit(self.database, self._journal, self._observe)

    async def close(self) -> None:
        """Commit what is written, if that is possible, and let the file go."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._commits.flush(), _FLUSH_AT_CLOSE_SECONDS)
        await self._commits.close()
        self._lister.shutdown()
        self._reader.close()
        await asyncio.to_thread(self.database.close)

    @property
    def writable(self) -> bool:
        """Whether the last commit succeeded."""
        return self._commits.failure is None

    def write(
        self,
        changes: Iterable[Change],
        then: Callback | None = None,
        *,
        undo: Callback | None = None,
        follows: Write | None = None,
        lazy: bool = False,
    ) -> Write:
        """Put changes into the next commit; see `GroupCommit.write`."""
        return self._commits.write(changes, then, undo=undo, follows=follows, lazy=lazy)

    async def flush(self) -> None:
        """Wait until everything written so far is committed."""
        await self._commits.flush()

    def get(self, table: str, key: str) -> bytes | None:
        """The committed value of a key."""
        row = self._reader.execute(f"SELECT value FROM {table} WHERE key = ?", (key,)).fetchone()  # noqa: S608
        return None if row is None else row[0]

    def scan(self, table: str, prefix: str = "") -> list[tuple[str, bytes]]:
        """The committed keys and values under a key prefix, in order of key; for few and small ones."""
        query = f"SELECT key, value FROM {table} WHERE key >= ? AND key < ? ORDER BY key"  # noqa: S608
        return self._reader.execute(query, (prefix, prefix + "\U0010ffff")).fetchall()

    def keys(self, table: str, prefix: str) -> list[str]:
        """The committed keys under a prefix."""
        query = f"SELECT key FROM {table} WHERE key >= ? AND key < ?"  # noqa: S608
        return [key for (key,) in self._reader.execute(query, (prefix, prefix + "\U0010ffff"))]

    def job(self, job_id: str) -> Job | None:
        """A job as last committed."""
        value = self.get("jobs", job_id)
        return None if value is None else decode(value)

    def number(self, key: str) -> int:
        """A counter or cursor among `meta`; 0 when it was never set."""
        return int(self.get("meta", key) or 0)

    def last_job_id(self) -> str | None:
        """The newest job's id."""
        row = self._reader.execute("SELECT max(key) FROM jobs").fetchone()
        return row[0] if row else None

    def last_job_of_run(self, run_id: str) -> str | None:
        """The newest job that was noted to carry on the run (see `Job.notes`)."""
        row = self._reader.execute("SELECT max(key) FROM jobs WHERE run = ?", (run_id,)).fetchone()
        return row[0] if row else None

    def last_row(self) -> int:
        """The highest row number that was given out."""
        query = 'SELECT max("row") FROM jobs WHERE "row" IS NOT NULL'  # the condition of the index
        kept = self._reader.execute(query).fetchone()[0] or 0
        return max(kept, self.number("rowsWritten"), self.number("rowsGiven"))

    async def count_ended(self) -> int:
        """How many terminal jobs are kept; takes a moment where they are many."""
        ((count,),) = await self.select('SELECT count(*) FROM jobs WHERE "row" IS NOT NULL', ())
        return int(count)

    def active_jobs(self) -> Iterator[Job]:
        """The jobs that have not ended, oldest first."""
        marks = ", ".join("?" * len(ACTIVE_STATUSES))
        query = (
            "SELECT value FROM jobs WHERE key IN "  # noqa: S608
            f"(SELECT key FROM jobs INDEXED BY jobs_listed WHERE status IN ({marks})) ORDER BY key"
        )
        return (decode(value) for (value,) in self._reader.execute(query, tuple(ACTIVE_STATUSES)))

    async def ended_after(self, row: int, limit: int) -> list[Job]:
        """Terminal jobs with higher row numbers than this, in order of ending, as many as fit into a page."""
        return await asyncio.get_running_loop().run_in_executor(self._lister, self._ended_after, row, limit)

    def _ended_after(self, row: int, limit: int) -> list[Job]:
        query = 'SELECT value FROM jobs WHERE "row" > ? ORDER BY "row" LIMIT ?'
        jobs: list[Job] = []
        size = 0
        with closing(self.database.connect()) as connection:
            for (value,) in connection.execute(query, (row, limit)):
                jobs.append(decode(value))
                size += len(value)
                if size > _PAGE_BYTES:
                    break
        return jobs

    async def ended_jobs(self, row: int, limit: int) -> list[EndedJob]:
        """The same in brief."""
        query = (
            """SELECT key, "row", json_extract(head, '$.finished'), json_extract(head, '$.key') """
            'FROM jobs WHERE "row" > ? ORDER BY "row" LIMIT ?'
        )
        return [EndedJob(*values) for values in await self.select(query, (row, limit))]

    async def page(self, filters: Filters, limit: int, before: str | None = None) -> Page:
        """Jobs that match, newest first, from the one created before the job `before`."""
        return await asyncio.get_running_loop().run_in_executor(
            self._lister, self._page, filters, limit, before
        )

    def _page(self, filters: Filters, limit: int, before: str | None) -> Page:
        conditions = {
            "key < ?": before,
            "status = ?": filters.status,
            "type = ?": filters.type,
            "created > ?": filters.created_after,
            "created < ?": filters.created_before,
        }
        chosen = {condition: value for condition, value in conditions.items() if value is not None}
        where = f"WHERE {' AND '.join(chosen)}" if chosen else ""
        query = f"SELECT key FROM jobs INDEXED BY jobs_listed {where} ORDER BY key DESC LIMIT ?"  # noqa: S608
        snapshots: list[bytes] = []
        size = 0
        with closing(self.database.connect()) as connection:
            connection.execute("BEGIN")
            keys = [key for (key,) in connection.execute(query, (*chosen.values(), limit + 1))]
            for key in keys[:limit]:
                snapshot = snapshot_line(_value(connection, key))
                size += len(snapshot)
                if snapshots and size > _PAGE_BYTES:
                    break
                snapshots.append(snapshot)
        more = len(keys) > len(snapshots)
        return Page(snapshots, keys[len(snapshots) - 1] if more else None)

    async def select(self, query: str, parameters: tuple[Any, ...]) -> list[Any]:
        """The rows of a query, beside everything else that goes on."""

        def run() -> list[Any]:
            with closing(self.database.connect()) as connection:
                return connection.execute(query, parameters).fetchall()

        return await asyncio.get_running_loop().run_in_executor(self._lister, run)


def _value(connection: sqlite3.Connection, key: str) -> bytes:
    value: bytes = connection.execute("SELECT value FROM jobs WHERE key = ?", (key,)).fetchone()[0]
    return value
