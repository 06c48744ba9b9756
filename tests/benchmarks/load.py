"""A load generator that costs far less than what it measures.

`measure(load)` runs this file as a process of its own, so that client and server do not share an interpreter.
It writes the same prepared bytes over keep-alive connections and reads, of each answer, just the status line
and `Content-Length`.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import time
from array import array
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path


class BenchmarkError(Exception):
    """The measurement does not count: wrong answers, lost connections, or a server that is gone."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """One request, repeated over `connections` for `seconds` after `warmup`, or until `requests` are sent."""

    port: int
    path: str
    body: str
    expect: int
    connections: int = 1
    seconds: float = 600.0
    warmup: float = 0.0
    requests: int | None = None


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came back. `answered` counts every answer, the rest only those inside the measured window.

    `p50` and `p99` are milliseconds, `started_at` seconds since the epoch, `client_cpu` a share of one core.
    """

    answered: int
    rate: float
    p50: float
    p99: float
    started_at: float
    client_cpu: float


def http_request(method: str, path: str, body: str = "") -> bytes:
    """The bytes of one HTTP/1.1 request with a JSON body."""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body.encode())}\r\n\r\n"
    )
    return head.encode() + body.encode()


def response_size(data: bytes) -> int | None:
    """Length of the first response in `data`, head and body, or None while its head is not complete."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    start = data.index(b"Content-Length: ", 0, end) + 16
    return end + 4 + int(data[start : data.index(b"\r", start)])


class Tally:
    """Counts the answers of all connections and says whether to go on."""

    def __init__(self, load: Load) -> None:
        self.statuses: Counter[int] = Counter()
        self.latencies = array("d")
        self.lost = 0
        self.done = asyncio.Event()
        self._open = load.connections
        self._unsent = load.requests
        self._measuring = False
        self._stopped = False
        self._window_start = self._window_end = 0.0

    def start_window(self) -> None:
        """From here on latencies count."""
        self._measuring = True
        self._window_start = time.perf_counter()

    def stop(self) -> None:
        """End the window, once; connections close when their last answer is there."""
        if not self._stopped:
            self._stopped = True
            self._measuring = False
            self._window_end = time.perf_counter()

    @property
    def window(self) -> float:
        """Seconds that were measured."""
        return self._window_end - self._window_start

    def take(self) -> bool:
        """Whether one more request may be sent; counts it if so."""
        if self._unsent is not None:
            self._unsent -= 1
            return self._unsent >= 0
        return not self._stopped

    def answered(self, status: int, seconds: float) -> None:
        """Count one answer."""
        self.statuses[status] += 1
        if self._measuring:
            self.latencies.append(seconds)

    def closed(self, *, waiting: bool) -> None:
        """Count the end of a connection, lost if it was `waiting` for an answer."""
        self.lost += waiting
        self._open -= 1
        if not self._open:
            self.done.set()


class Connection(asyncio.Protocol):
    """A client that sends its next request as soon as the last one is answered."""

    def __init__(self, tally: Tally, request: bytes) -> None:
        self._tally = tally
        self._request = request
        self._received = b""
        self._sent_at = 0.0
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send_next()

    def _send_next(self) -> None:
        self._waiting = self._tally.take()
        if self._waiting:
            self._sent_at = time.perf_counter()
            self._transport.write(self._request)
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        size = response_size(self._received)
        if size is None or len(self._received) < size:
            return
        status = int(self._received[9:12])
        self._received = self._received[size:]
        self._tally.answered(status, time.perf_counter() - self._sent_at)
        self._send_next()

    def connection_lost(self, _exc: Exception | None) -> None:
        self._tally.closed(waiting=self._waiting)


async def generate(load: Load) -> Tally:
    """Open the connections, keep them busy, and return once all are closed."""
    loop = asyncio.get_running_loop()
    tally = Tally(load)
    request = http_request("POST", load.path, load.body)
    loop.call_later(load.warmup, tally.start_window)
    loop.call_later(load.warmup + load.seconds, tally.stop)
    for _ in range(load.connections):
        await loop.create_connection(lambda: Connection(tally, request), "127.0.0.1", load.port)
    await tally.done.wait()
    tally.stop()
    return tally


def summarise(load: Load, tally: Tally, started_at: float) -> Result:
    """The figures of a finished load; an unexpected status or a lost connection makes it void."""
    wrong = {status: count for status, count in tally.statuses.items() if status != load.expect}
    if wrong or tally.lost or not tally.latencies:
        raise BenchmarkError(f"{load.path}: unexpected statuses {wrong}, {tally.lost} connections lost")
    latencies = sorted(tally.latencies)
    return Result(
        answered=tally.statuses[load.expect],
        rate=len(latencies) / tally.window,
        p50=latencies[len(latencies) // 2] * 1000,
        p99=latencies[int(len(latencies) * 0.99)] * 1000,
        started_at=started_at,
        client_cpu=time.process_time() / (time.time() - started_at),
    )


def measure(load: Load) -> Result:
    """Run the load in a process of its own. Raises BenchmarkError when its figures would not count."""
    command = [sys.executable, str(Path(__file__)), json.dumps(asdict(load))]
    process = subprocess.run(command, capture_output=True, text=True, timeout=load.warmup + load.seconds + 60)
    if process.returncode:
        raise BenchmarkError(process.stderr.strip().splitlines()[-1])
    return Result(**json.loads(process.stdout))


def main() -> None:
    """Read the load from the first argument, print the result as JSON."""
    gc.disable()
    load = Load(**json.loads(sys.argv[1]))
    started_at = time.time()
    tally = asyncio.run(generate(load))
    try:
        print(json.dumps(asdict(summarise(load, tally, started_at))))
    except BenchmarkError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
