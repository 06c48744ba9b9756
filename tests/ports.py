"""Ports for the services of tests. One worker's are no other's, also while a service that restarts holds none."""

from __future__ import annotations

import os
import socket
from itertools import cycle

_FIRST, _SPAN, _SPANS = 10_000, 1_500, 15
"""All below the ports that systems give to connections."""

_worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_start = _FIRST + _SPAN * (_worker % _SPANS)
_ports = cycle((_start + (os.getpid() + place) % _SPAN) for place in range(_SPAN))


def free_port() -> int:
    """A port that nobody listens on; each call gives another one."""
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
