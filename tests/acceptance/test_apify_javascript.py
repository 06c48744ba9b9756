"""The same ways with the official JavaScript client: `tests/node/apify_client.test.mjs`."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.acceptance.apify_service import ENV, SETTINGS, node_environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.conftest import Factory


def test_the_javascript_client(node_modules: Path, make: Factory) -> None:
    service = make(SETTINGS, env=ENV).launch_until_ready()
    done = subprocess.run(
        ["node", "--test", "apify_client.test.mjs"],
        cwd=node_modules.parent,
        env=node_environment(service),
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    tests = (node_modules.parent / "apify_client.test.mjs").read_text("utf-8").count("\ntest(")
    assert f"# pass {tests}\n" in done.stdout, done.stdout[-2000:]
