"""The real service as a process of its own, and the client that the acceptance tests speak to it with."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
TOKEN = "opensesame-3f9d1c7a5b"
TERMINAL = ("completed", "failed", "cancelled")
ROW_FIELDS = {
    "jobId",
    "status",
    "task",
    "result",
    "error",
    "errorCode",
    "attempt",
    "createdAt",
    "startedAt",
    "finishedAt",
}
_RANK = {"pending": 0, "running": 1, "completed": 2, "failed": 2, "cancelled": 2}


@cache
def documentation() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def progress_of(snapshot: Mapping[str, Any]) -> tuple[int, int]:
    """How far a job is, as the pair that must never decrease."""
    return snapshot["attempt"], _RANK[snapshot["status"]]


def _clean_environment() -> dict[str, str]:
    prefixes = ("APIFY_", "ACTOR_", "CRAWLEE_", "ASYNC_ENDPOINT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}


class Service:
    """One service process on a storage directory and a port that stay the same across restarts."""

    def __init__(
        self,
        storage: Path,
        settings: Mapping[str, Any] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.storage = storage
        self.settings = dict(settings or {})
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._log: list[bytes] = []

    # -- the process ---

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not launched"
        return self._process

    @property
    def log(self) -> str:
        """All that the service wrote to stdout and stderr, over all its starts."""
        return b"".join(self._log).decode(errors="replace")

    def environment(self) -> dict[str, str]:
        return {
            **_clean_environment(),
            "ACTOR_WEB_SERVER_PORT": str(self.port),
            "APIFY_LOCAL_STORAGE_DIR": str(self.storage),
            "APIFY_PURGE_ON_START": "0",
            "ASYNC_ENDPOINT_HANDLERS": "handlers_for_tests",
            "PYTHONPATH": f"{HERE}{os.pathsep}{ROOT}",
            "PYTHONUNBUFFERED": "1",
            **self.env,
        }

    def write_input(self) -> None:
        folder = self.storage / "key_value_stores" / "default"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "INPUT.json").write_text(json.dumps(self.settings), encoding="utf-8")

    def launch(self) -> None:
        """Start the process without waiting for it."""
        self.write_input()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "async_endpoint"],
            env=self.environment(),
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._reader = threading.Thread(target=self._read_log, args=(self._process,), daemon=True)
        self._reader.start()

    def _read_log(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                self._log.append(line)

    def launch_until_ready(self, seconds: float = 40) -> Service:
        self.launch()
        deadline = time.monotonic() + seconds
        while self.status_of("/ready") != 200:
            assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"not ready in {seconds} s:\n{self.log}"
            time.sleep(0.02)
        return self

    async def start(self, seconds: float = 40) -> Service:
        return await asyncio.to_thread(self.launch_until_ready, seconds)

    def status_of(self, path: str) -> int | None:
        """Status of a GET, or None when nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return None
        finally:
            connection.close()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_sync(self, seconds: float) -> int:
        code = self.process.wait(seconds)
        assert self._reader is not None
        self._reader.join(10)
        return code

    async def wait(self, seconds: float = 30) -> int:
        """Exit code, once the process has ended."""
        return await asyncio.to_thread(self.wait_sync, seconds)

    def kill_sync(self) -> None:
        if self._process is not None:
            self._process.kill()
            self.wait_sync(10)

    async def kill(self) -> None:
        await asyncio.to_thread(self.kill_sync)

    async def terminate(self, number: signal.Signals = signal.SIGTERM, seconds: float = 30) -> int:
        self.send(number)
        return await self.wait(seconds)

    async def restart(self) -> Service:
        """Kill -9, then start again on the same storage and port."""
        await self.kill()
        return await self.start()

    # -- what it leaves behind ---

    def rows(self) -> list[dict[str, Any]]:
        """The rows of the default dataset, in the order of their file names."""
        folder = self.storage / "datasets" / "default"
        files = sorted(path for path in folder.glob("*.json") if path.name != "__metadata__.json")
        return [json.loads(path.read_text(encoding="utf-8")) for path in files]

    async def rows_when(self, count: int, seconds: float = 15) -> list[dict[str, Any]]:
        """The rows, once there are at least `count` (they are written off the hot path)."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                rows = await asyncio.to_thread(self.rows)
            except json.JSONDecodeError:  # caught in the middle of a write
                rows = []
            if len(rows) >= count:
                return rows
            assert time.monotonic() < deadline, f"{len(rows)} rows of {count}"
            await asyncio.sleep(0.05)

    # -- HTTP ---

    def client(self, headers: Mapping[str, str] | None = None, *, limit: int = 100) -> Client:
        return Client(self.url, headers, limit=limit)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        def refuse(constant: str) -> Any:
            raise AssertionError(f"{constant} is not JSON")

        return json.loads(self.body, parse_constant=refuse)

    def problem(self, status: int, code: str | None = None) -> dict[str, Any]:
        """The problem of an error answer, after checking that it has its RFC 9457 form."""
        assert self.status == status, (self.status, self.body[:500])
        assert self.headers["Content-Type"].split(";")[0] == "application/problem+json", self.headers
        problem: dict[str, Any] = self.json()
        assert problem["status"] == status
        assert isinstance(problem["type"], str)
        assert isinstance(problem["title"], str)
        assert problem["title"]
        assert isinstance(problem["detail"], str)
        assert problem["error"] == problem["detail"]
        assert isinstance(problem["code"], str)
        assert problem["code"]
        assert f"`{problem['code']}`" in documentation(), f"{problem['code']} is not documented"
        if code is not None:
            assert problem["code"] == code
        return problem


class Client:
    """A client session bound to one service; use it as `async with`."""

    def __init__(self, url: str, headers: Mapping[str, str] | None, *, limit: int) -> None:
        self.url = url
        self._headers = headers
        self._limit = limit

    async def __aenter__(self) -> Client:
        self.session = aiohttp.ClientSession(
            self.url,
            headers=self._headers,
            connector=aiohttp.TCPConnector(limit=self._limit),
            timeout=aiohttp.ClientTimeout(total=90),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()

    async def request(self, method: str, path: str, **options: Any) -> Reply:
        async with self.session.request(method, path, allow_redirects=False, **options) as response:
            return Reply(response.status, response.headers, await response.read())

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.request("GET", path, **options)

    async def delete(self, path: str, **options: Any) -> Reply:
        return await self.request("DELETE", path, **options)

    async def post(self, path: str, json: Any = None, **options: Any) -> Reply:
        if "data" not in options and json is not None:
            options["json"] = json
        if isinstance(options.get("data"), bytes):
            options["data"] = io.BytesIO(options["data"])
        return await self.request("POST", path, **options)

    # -- the few calls that most tests make ---

    async def submit(self, task: Mapping[str, Any], **options: Any) -> str:
        """Job id of a task that must be accepted."""
        reply = await self.post("/tasks", task, **options)
        assert reply.status == 202, (reply.status, reply.body[:1000])
        return str(reply.json()["jobId"])

    async def snapshot(self, job_id: str) -> dict[str, Any]:
        reply = await self.get(f"/tasks/{job_id}")
        assert reply.status == 200, (reply.status, reply.body[:1000])
        snapshot: dict[str, Any] = reply.json()
        return snapshot

    async def finished(self, job_id: str, seconds: float = 30) -> dict[str, Any]:
        """Snapshot of a job that must end within `seconds`."""
        reply = await self.post(f"/tasks/{job_id}/wait?timeoutMs={int(seconds * 1000)}")
        assert reply.status == 200, (reply.status, reply.body[:1000])
        snapshot: dict[str, Any] = reply.json()
        assert snapshot["status"] in TERMINAL
        return snapshot

    async def run(self, task: Mapping[str, Any], seconds: float = 30) -> dict[str, Any]:
        """Snapshot of a task that was submitted and has ended."""
        reply = await self.post(f"/run-and-wait?timeoutMs={int(seconds * 1000)}", task)
        assert reply.status == 200, (reply.status, reply.body[:1000])
        snapshot: dict[str, Any] = reply.json()
        return snapshot

    async def until_status(self, job_id: str, status: str, seconds: float = 15) -> dict[str, Any]:
        """Snapshot of the job once it has this status."""
        deadline = time.monotonic() + seconds
        while (snapshot := await self.snapshot(job_id))["status"] != status:
            assert time.monotonic() < deadline, f"{snapshot['status']}, not {status}"
            await asyncio.sleep(0.02)
        return snapshot

    async def all_jobs(self, query: str = "") -> list[dict[str, Any]]:
        """Every job of the list, page by page."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {"cursor": cursor} if cursor else {}
            reply = await self.get(f"/tasks?limit=1000{query}", params=params)
            assert reply.status == 200, reply.body[:1000]
            page = reply.json()
            items += page["items"]
            cursor = page["nextCursor"]
            if not cursor:
                return items
