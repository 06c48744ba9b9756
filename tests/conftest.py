"""What all tests share: a stand-in for the platform, the tools that a machine may lack, and what a missing one means.

A test asks for a tool by its fixture. Where the tool is missing the test is skipped, and one line at the end
says how to get it. With `REQUIRE_ALL=1` in the environment, as in CI, a skipped test fails the run.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.platform.standin import StandIn

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE_FOLDER = Path(__file__).parent / "node"


@pytest.fixture
def platform() -> Iterator[StandIn]:
    """A stand-in for the Apify API."""
    with StandIn() as standin:
        yield standin


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The folder of the installed npm packages: the Actor's schemas and CLI, the JavaScript client."""
    folder = NODE_FOLDER / "node_modules"
    if not shutil.which("node") or not folder.is_dir():
        pytest.skip("needs Node.js 20 or newer and its packages: run 'npm ci' in tests/node")
    return folder


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if not path:
        pytest.skip("needs Chromium: install the system's package chromium")
    return path


@pytest.fixture(scope="session")
def curl() -> None:
    """What the commands of the README need."""
    if not all(map(shutil.which, ("bash", "curl", "openssl"))):
        pytest.skip("needs bash, curl and openssl: install the system's packages of these names")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for reason, count in _skips(terminalreporter).items():
        terminalreporter.write_line(f"{count} skipped: {reason}", yellow=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("REQUIRE_ALL") and reporter and _skips(reporter):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _skips(reporter: pytest.TerminalReporter) -> Counter[str]:
    """How many tests were skipped for each reason."""
    return Counter(
        report.longrepr[2].removeprefix("Skipped: ") for report in reporter.stats.get("skipped", ())
    )
