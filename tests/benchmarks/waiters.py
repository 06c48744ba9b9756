"""Thousands of clients that wait for one job: `python waiters.py PORT PATH COUNT`.

Prints `waiting` once every request is sent, and one line of JSON when every answer is there:
`{"statuses": {"200": 10000}, "lastAnswerAt": seconds since the epoch}`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections import Counter

from load import http_request, response_size

CONNECTING_AT_ONCE = 200


class Crowd:
    """Counts the answers of all waiters; a connection that is lost first counts as status 0."""

    def __init__(self, count: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.last_answer_at = 0.0
        self.done = asyncio.Event()
        self._waiting = count

    def answered(self, status: int) -> None:
        """Count one waiter's answer."""
        self.statuses[status] += 1
        self.last_answer_at = time.time()
        self._waiting -= 1
        if not self._waiting:
            self.done.set()


class Waiter(asyncio.Protocol):
    """One connection that sends one request and waits for its answer."""

    def __init__(self, crowd: Crowd, request: bytes) -> None:
        self._crowd = crowd
        self._request = request
        self._received = b""
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        size = response_size(self._received)
        if size is not None and len(self._received) >= size:
            self._finish(int(self._received[9:12]))

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._answered:
            self._finish(0)

    def _finish(self, status: int) -> None:
        self._answered = True
        self._crowd.answered(status)


async def gather_crowd(port: int, path: str, count: int) -> Crowd:
    """Connect `count` waiters, tell the parent process, and return once all are answered."""
    loop = asyncio.get_running_loop()
    crowd = Crowd(count)
    request = http_request("POST", path)
    for start in range(0, count, CONNECTING_AT_ONCE):
        together = range(start, min(start + CONNECTING_AT_ONCE, count))
        await asyncio.gather(
            *(loop.create_connection(lambda: Waiter(crowd, request), "127.0.0.1", port) for _ in together)
        )
    print("waiting", flush=True)
    await crowd.done.wait()
    return crowd


def main() -> None:
    """Raise the limit of open files, wait, print the outcome."""
    gc.disable()
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, path, count = sys.argv[1:]
    crowd = asyncio.run(gather_crowd(int(port), path, int(count)))
    print(json.dumps({"statuses": crowd.statuses, "lastAnswerAt": crowd.last_answer_at}))


if __name__ == "__main__":
    main()
