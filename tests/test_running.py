"""The ways to start the service that the README names, as somebody at a terminal uses them."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
SECONDS_TO_START = 40
OWN_PREFIXES = ("ACTOR_", "APIFY_", "CRAWLEE_", "ASYNC_ENDPOINT_")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def started(command: Sequence[str], at: Path, port: int, log: Path, **environ: str) -> Iterator[Popen[bytes]]:
    """The command in a session of its own, once the service answers; killed with all its children at the end."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(OWN_PREFIXES)}
    environ = clean | {"ACTOR_WEB_SERVER_PORT": str(port)} | environ
    with log.open("wb") as out:
        process = Popen(
            command, cwd=at, env=environ, stdin=DEVNULL, stdout=out, stderr=STDOUT, start_new_session=True
        )
    try:
        deadline = time.monotonic() + SECONDS_TO_START
        while not answers(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.parametrize("way", ["Ctrl-C", "SIGTERM to make"])
def test_make_run_serves_and_stops_cleanly(tmp_path: Path, way: str) -> None:
    port, log = free_port(), tmp_path / "log"
    command = ["make", "-o", "install", "run", f"BIN={Path(sys.executable).parent}"]
    with started(command, ROOT, port, log, APIFY_LOCAL_STORAGE_DIR=str(tmp_path / "storage")) as process:
        if way == "Ctrl-C":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        process.wait(30)
        output = log.read_text()
        assert f"http://localhost:{port}" in output
        assert "Traceback" not in output
        assert "Error" not in output
        assert not answers(port)


def test_the_official_tool_runs_the_actor(node_modules: Path, tmp_path: Path) -> None:
    for name in (".actor", "async_endpoint", "tests"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__")
        )
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environ = {"PATH": path, "HOME": str(tmp_path), "APIFY_CLI_DISABLE_TELEMETRY": "1"}
    command = [str(node_modules / ".bin" / "apify"), "run"]
    with started(command, tmp_path, free_port(), tmp_path / "log", **environ):
        assert (tmp_path / "storage" / "jobs.sqlite").is_file()
