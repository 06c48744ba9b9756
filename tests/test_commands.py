"""The commands of the Makefile, and what a skipped test means."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TARGETS = {"help", "install", "run", "test", "soak", "bench", "check", "format", "docs", "docker"}
WITHOUT_PYTHON = ("sh", "make", "touch", "echo")


def make(*arguments: str, path: Path | None = None, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": str(path) if path else os.defpath, "HOME": str(at)}
    command = [shutil.which("make") or "make", *arguments]
    return subprocess.run(command, cwd=at, env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture
def bare_machine(tmp_path: Path) -> Path:
    """A fresh checkout beside a folder of programs that has no Python."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "requirements.txt").touch()
    programs = tmp_path / "programs"
    programs.mkdir()
    for program in WITHOUT_PYTHON:
        (programs / program).symlink_to(shutil.which(program) or program)
    return tmp_path


def write_python(programs: Path, name: str, *, version: str, ensurepip: bool) -> None:
    """A stand-in that answers the two questions that the Makefile asks of a Python."""
    answers = [
        f"*version_info*) exit {int(version < '3.11')};;",
        f"*ensurepip*) exit {int(not ensurepip)};;",
        '*venv*) echo "$0 makes $*";;',
    ]
    (programs / name).write_text(f'#!/bin/sh\ncase "$*" in {" ".join(answers)} esac\n')
    (programs / name).chmod(0o755)


def test_help_lists_every_command() -> None:
    assert set(re.findall(r"^  make (\w+) +\w", make().stdout, re.MULTILINE)) == TARGETS


def test_without_any_python_it_says_what_is_needed(bare_machine: Path) -> None:
    done = make("install", path=bare_machine / "programs", at=bare_machine)
    assert done.returncode == 2
    assert done.stderr.startswith("Python 3.11 or newer is needed")


def test_without_ensurepip_it_says_what_to_install(bare_machine: Path) -> None:
    write_python(bare_machine / "programs", "python3", version="3.11", ensurepip=False)
    done = make("install", path=bare_machine / "programs", at=bare_machine)
    assert done.returncode == 2
    assert done.stderr.startswith(
        "python3 cannot make virtual environments; install the package python3-venv"
    )


def test_an_old_python_is_passed_over_for_a_newer_one(bare_machine: Path) -> None:
    programs = bare_machine / "programs"
    write_python(programs, "python3", version="3.10", ensurepip=True)
    write_python(programs, "python3.12", version="3.12", ensurepip=True)
    done = make("install", path=programs, at=bare_machine)
    assert f"{programs}/python3.12 makes -m venv --clear .venv" in done.stdout
    assert f"{programs}/python3 makes" not in done.stdout


@pytest.mark.parametrize(("require_all", "code"), [("", 0), ("1", 1)])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_skipped_test_fails_the_run_where_all_are_required(
    tmp_path: Path, workers: str, require_all: str, code: int
) -> None:
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(
        "def test_node(node_modules): ...\ndef test_more(node_modules): ...\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "xdist", "-n", workers]
    environ = os.environ | {
        "REQUIRE_ALL": require_all,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout
    assert done.stdout.count("2 skipped: needs Node.js 20 or newer") == 1
    assert re.match("=+ 2 skipped in ", done.stdout.splitlines()[-1])
