"""The one client session that everything outbound goes through."""

from __future__ import annotations

import io
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import aiohttp

from .decoding import ACCEPTED
from .guard import GuardedSockets
from .resolver import ThreadedResolver

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from yarl import URL

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2."""

KEEP_ALIVE_SECONDS = 4
"""Less than the five seconds after which common servers close an idle connection."""

MAX_HEADER_BYTES = 32 * 1024
"""The longest header a server may send; with at most 128 of them, headers stay below 4 MiB."""

WRITTEN_AT_ONCE = 1024 * 1024

_sockets_opened: ContextVar[list[int]] = ContextVar("sockets_opened")


def open_session(*, allow_private: bool, user_agent: str) -> aiohttp.ClientSession:
    """Open the session: guarded, without cookies, without a proxy from the environment, without a time limit.

    Told to follow redirects, it guards each hop at the socket; `send` never follows one. Close it at the end.

    Args:
        allow_private: Whether private networks may be reached (never the metadata services of clouds).
        user_agent: What requests say when they have no User-Agent of their own.
    """
    connector = aiohttp.TCPConnector(
        socket_factory=_noted(GuardedSockets(allow_private=allow_private)),
        resolver=ThreadedResolver(),
        # The cache would shield look-ups from cancellation, and its keys are the callers' to choose.
        use_dns_cache=False,
        # The number of jobs and deliveries at work is the limit; one here would let them wait for each other.
        limit=0,
        keepalive_timeout=KEEP_ALIVE_SECONDS,
    )
    return _session(connector, {"User-Agent": user_agent})


def undecoded(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """A session on the same connections, for bodies as they were sent; see `decoding`. It ends with the other."""
    headers = {**session.headers, "Accept-Encoding": ACCEPTED}
    return _session(session.connector, headers, connector_owner=False, auto_decompress=False)


def _session(
    connector: aiohttp.BaseConnector | None, headers: dict[str, str], **more: Any
) -> aiohttp.ClientSession:
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=None),
        max_field_size=MAX_HEADER_BYTES,
        **more,
    )
    # aiohttp repeats requests that failed on a fresh connection too; a job's attempts would not show it.
    session._retry_connection = False
    return session


async def send(
    session: aiohttp.ClientSession,
    method: str,
    url: URL,
    *,
    headers: dict[str, str],
    body: bytes | None = None,
    repeatable: bool = False,
) -> aiohttp.ClientResponse:
    """Send one request and return its response once the headers are there; redirects are not followed.

    A request that may come twice is repeated when a kept-alive connection turns out to be closed (RFC 9112,
    section 9.3.1), since that says nothing about the server.

    Args:
        session: A session of `open_session`.
        method: In upper case.
        url: A URL that `check_url` let through.
        headers: The request's headers.
        body: The request's body.
        repeatable: The request may come twice although its method does not say so.

    Raises:
        aiohttp.ClientError: There was no valid response; its cause is a `BlockedError` if the guard refused.
    """
    while True:
        opened: list[int] = []
        _sockets_opened.set(opened)
        try:
            return await session.request(
                method, url, headers=headers, data=_payload(body), allow_redirects=False
            )
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if opened or not (repeatable or method in IDEMPOTENT_METHODS):
                raise


def _payload(body: bytes | None) -> bytes | io.BytesIO | None:
    """A large body as a file, which is written piece by piece, so that it does not hold up the event loop."""
    return body if body is None or len(body) <= WRITTEN_AT_ONCE else io.BytesIO(body)


def _noted(factory: GuardedSockets) -> Callable[[tuple[Any, ...]], socket.socket]:
    """The factory, noting each socket in the list that this task, or the one that started it, has set."""

    def open_socket(addr_info: tuple[Any, ...]) -> socket.socket:
        opened = factory(addr_info)
        _sockets_opened.get([]).append(opened.fileno())
        return opened

    return open_socket
