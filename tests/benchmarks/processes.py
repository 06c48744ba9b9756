"""The two servers under load, each a process of its own: memory, CPU time and, for the service, rows."""

from __future__ import annotations

import array
import fcntl
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from load import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# On the repository's disk: the system's directory for temporary files may be in memory, where fsync is free.
SCRATCH = ROOT / ".build" / "bench"
START_TIMEOUT = 30.0
IDLE_TIMEOUT = 30.0
# From linux/fs.h, on 64 bits.
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL = 0x80086601, 0x40086602, 0x20000
DRAIN_TIMEOUT = 120.0


class Server:
    """A running server on loopback and what the kernel says about its process."""

    def __init__(self, command: list[str], env: dict[str, str], port: int, log: Path) -> None:
        self.port = port
        self._log = log
        started = time.perf_counter()
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=subprocess.STDOUT)
        self.await_ok("/health")
        self.start_seconds = time.perf_counter() - started

    def await_ok(self, path: str) -> None:
        """Return with the first 200 on this path."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if self.request("GET", path)[0] == 200:
                    return
            except OSError:
                time.sleep(0.002)
        self.stop()
        raise BenchmarkError(f"did not start:\n{self.log_tail()}")

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """One request on a connection of its own: status and parsed JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        finally:
            connection.close()

    def memory(self) -> int:
        """Resident set of the process and its children, in bytes."""
        return sum(resident_set(pid) for pid in self._family())

    def cpu_seconds(self) -> float:
        """CPU time of all threads of the process and its children so far."""
        # What clock_getcpuclockid(3) returns on Linux; Python has no call for it.
        return sum(time.clock_gettime((~pid << 3) | 2) for pid in self._family())

    def _family(self) -> list[int]:
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/children")
        return [self._process.pid, *(int(pid) for task in tasks for pid in task.read_text().split())]

    def await_idle(self) -> None:
        """Return once the process uses less than 5 % of a core over 200 ms."""
        deadline = time.monotonic() + IDLE_TIMEOUT
        while time.monotonic() < deadline:
            before = self.cpu_seconds()
            time.sleep(0.2)
            if self.cpu_seconds() - before < 0.01:
                return
        raise BenchmarkError("the server does not become idle")

    def log_tail(self) -> str:
        """The last lines the server has logged."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])

    def stop(self) -> None:
        """Ask the process to end, and insist after 30 s."""
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Service(Server):
    """The service with its storage; `jobs` counts what was accepted from it."""

    def __init__(self, directory: Path) -> None:
        port = free_port()
        self.jobs = 0
        self._rows = directory / "storage" / "datasets" / "default"
        write_input(directory / "storage")
        env = clean_environment() | {
            "ACTOR_WEB_SERVER_PORT": str(port),
            "APIFY_LOCAL_STORAGE_DIR": str(directory / "storage"),
            "APIFY_PURGE_ON_START": "0",
        }
        started = time.perf_counter()
        super().__init__([sys.executable, "-m", "async_endpoint"], env, port, directory / "service.log")
        self.await_ok("/ready")
        self.ready_seconds = time.perf_counter() - started

    def post(self, path: str, body: Any) -> Any:
        """Submit by one request and count its jobs."""
        status, answer = self.request("POST", path, body)
        if status != 202:
            raise BenchmarkError(f"{path}: status {status}, {answer}")
        self.jobs += len(answer.get("jobs", (answer,)))
        return answer

    def queued(self) -> int:
        """Jobs that wait for a slot."""
        return int(self.request("GET", "/health")[1]["queued"])

    def await_drained(self) -> float:
        """Wait until every accepted job has ended and has its row; returns the seconds this took."""
        started = time.monotonic()
        while self.jobs and not self._row(self.jobs).exists():
            if time.monotonic() - started > DRAIN_TIMEOUT:
                raise BenchmarkError(
                    f"the drain does not end, {self.queued()} jobs queued:\n{self.log_tail()}"
                )
            time.sleep(0.01)
        return time.monotonic() - started

    def _row(self, number: int) -> Path:
        return self._rows / f"{number:09}.json"

    def check_rows(self) -> None:
        """Every job has one row and there is no other, or nothing that was measured counts."""
        rows = sum(1 for _ in self._rows.glob("[0-9]*.json"))
        if rows != self.jobs:
            raise BenchmarkError(f"{self.jobs} jobs were accepted, the dataset has {rows} rows")


def resident_set(pid: int) -> int:
    """Bytes of a process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def clean_environment() -> dict[str, str]:
    """The environment without settings that would reach the service."""
    foreign = ("ACTOR_", "APIFY_", "CRAWLEE_", "ASYNC_ENDPOINT_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def write_input(storage: Path) -> None:
    """Put the benchmark's settings where the Actor reads its input."""
    store = storage / "key_value_stores" / "default"
    store.mkdir(parents=True)
    settings = {
        "maxConcurrentTasks": 50,
        "maxQueuedTasks": 1_000_000,
        "allowFetchTasks": True,
        "allowPrivateNetworks": True,
    }
    (store / "INPUT.json").write_text(json.dumps(settings))


def spread_subdirectories(parent: Path) -> None:
    """Let ext4 place each new subdirectory somewhere else on the disk (`chattr +T`); no other file system minds.

    ext4 takes no inode that was freed in the last minutes, and steps over each of them whenever it makes a file. Next
    to the rows of an earlier benchmark, a row would cost up to 30 times as much as it should.
    """
    descriptor = os.open(parent, os.O_RDONLY)
    try:
        with suppress(OSError):
            flags = array.array("l", [0])
            fcntl.ioctl(descriptor, FS_IOC_GETFLAGS, flags)
            flags[0] |= FS_TOPDIR_FL
            fcntl.ioctl(descriptor, FS_IOC_SETFLAGS, flags)
    finally:
        os.close(descriptor)


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A new directory on a real disk, removed at the end."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    spread_subdirectories(SCRATCH)
    directory = Path(tempfile.mkdtemp(dir=SCRATCH))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextmanager
def running_yardstick(name: str = "bare") -> Iterator[Server]:
    """The bare app, or the durable one, stopped at the end."""
    with scratch_directory() as directory:
        port = free_port()
        script = Path(__file__).with_name(f"{name}.py")
        command = [sys.executable, str(script), str(port), str(directory / "jobs.sqlite")]
        server = Server(command, clean_environment(), port, directory / "server.log")
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def running_service() -> Iterator[Service]:
    """The service on an empty storage; its rows are counted before it is stopped."""
    with scratch_directory() as directory:
        service = Service(directory)
        try:
            yield service
            service.await_drained()
            service.check_rows()
        finally:
            service.stop()
