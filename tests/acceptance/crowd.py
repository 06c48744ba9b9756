"""Thousands of connections that wait for one job, cheap enough that the client is not what is measured."""

from __future__ import annotations

import resource
import selectors
import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def raise_file_limit() -> None:
    """Allow as many open sockets as the system lets this process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Crowd:
    """Waiters on one job, each on a connection of its own."""

    def __init__(self, port: int, job_id: str, size: int) -> None:
        raise_file_limit()
        target = f"/tasks/{job_id}/wait?timeoutMs=600000"
        head = f"POST {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\n\r\n"
        self.waiting = [self._open(port, head.encode()) for _ in range(size)]

    @staticmethod
    def _open(port: int, head: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), 30)
        connection.sendall(head)
        connection.setblocking(False)
        return connection

    def __enter__(self) -> Crowd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.hang_up(len(self.waiting))

    def hang_up(self, count: int) -> None:
        """Close `count` of the connections, spread over all of them."""
        step = max(len(self.waiting) // count, 1) if count else 1
        leaving = set(self.waiting[::step][:count])
        for connection in leaving:
            connection.close()
        self.waiting = [connection for connection in self.waiting if connection not in leaving]

    def answers(self, seconds: float) -> tuple[list[bytes], float]:
        """Whole answers of all who still wait, and the wall-clock time of the last one's arrival."""
        last, bodies = 0.0, []
        with selectors.DefaultSelector() as selector:
            for connection in self.waiting:
                selector.register(connection, selectors.EVENT_READ, bytearray())
            deadline = time.monotonic() + seconds
            while selector.get_map():
                assert time.monotonic() < deadline, f"{len(selector.get_map())} waiters got no answer"
                for key, _ in selector.select(1):
                    if self._receive(key):
                        last = time.time()
                        bodies.append(bytes(key.data))
                        selector.unregister(key.fileobj)
        return bodies, last

    @staticmethod
    def _receive(key: selectors.SelectorKey) -> bool:
        assert isinstance(key.fileobj, socket.socket)
        chunk = key.fileobj.recv(65536)
        assert chunk, "hung up on without an answer"
        key.data.extend(chunk)
        return b"\r\n\r\n" in key.data and key.data.endswith(b"}")
