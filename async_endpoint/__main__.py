"""`python -m async_endpoint`: serve until stopped; exit code 1 with a clear message when it cannot start."""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from . import logs
from .environment import drop_blank_variables, load_environment
from .errors import StartError
from .service import serve


def main() -> int:
    """Run the service; returns the exit code."""
    logs.configure()
    drop_blank_variables(os.environ)
    try:
        asyncio.Runner().run(serve(load_environment(os.environ)))
    except StartError as exc:
        for line in str(exc).splitlines():
            print(f"async-endpoint: {line}", file=sys.stderr)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stderr.flush()
    # Everything is stored and closed; a handler that ignores its end must not keep the process.
    os._exit(code)
