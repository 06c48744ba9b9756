"""A second yardstick: the least aiohttp app that keeps what it was told. `python durable.py PORT FILE` serves it.

Each request is one row of SQLite, committed together with those that came meanwhile, and answered after that.
No job runs, nothing else is written: what it takes beyond the bare app is what no durable service can save.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
import uuid

from aiohttp import web

TABLE = "CREATE TABLE jobs (key TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID"


class Rows:
    """Rows on their way into the file: those that wait, and an event for when they are there."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", TABLE):
            self._file.execute(statement)
        self._begin()
        self._wake = asyncio.Event()

    def _begin(self) -> None:
        self._waiting: list[str] = []
        self._there = asyncio.Event()

    async def add(self, key: str, value: str) -> None:
        """Return once the row is on disk."""
        self._waiting += (key, value)
        self._wake.set()
        await self._there.wait()

    async def write(self) -> None:
        """Write for ever, one transaction at a time."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            waiting, there = self._waiting, self._there
            self._begin()
            await asyncio.to_thread(self._commit, waiting)
            there.set()

    def _commit(self, values: list[str]) -> None:
        places = ", ".join(["(?, ?)"] * (len(values) // 2))
        self._file.execute("BEGIN IMMEDIATE")
        self._file.execute(f"INSERT INTO jobs VALUES {places}", values)
        self._file.execute("COMMIT")


ROWS = web.AppKey("ROWS", Rows)
WRITER = web.AppKey("WRITER", asyncio.Task[None])


async def echo(request: web.Request) -> web.Response:
    """Answer the parsed JSON body once it is kept."""
    task = await request.json()
    await request.app[ROWS].add(str(uuid.uuid4()), json.dumps({"task": task, "result": task}))
    return web.json_response(task)


async def health(_request: web.Request) -> web.Response:
    """Answer at once: the app is up."""
    return web.json_response({"ok": True})


async def open_rows(app: web.Application) -> None:
    """Open the file when the event loop is there."""
    app[ROWS] = Rows(sys.argv[2])
    app[WRITER] = asyncio.create_task(app[ROWS].write())


def make_app() -> web.Application:
    """The app with its two routes."""
    app = web.Application()
    app.on_startup.append(open_rows)
    app.add_routes([web.post("/echo", echo), web.get("/health", health)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
