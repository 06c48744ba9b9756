"""What went wrong with a request, in words for the person who asked for it.

The client library's own messages hold whole URLs, whose queries may be secret, and raw bytes from servers.
"""

from __future__ import annotations

import os

import aiohttp

from .guard import BlockedError

_IN_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "the host name could not be resolved"),
    (aiohttp.ClientConnectorCertificateError, "the server's certificate is not valid for this host"),
    (aiohttp.ClientConnectorSSLError, "no secure connection could be agreed with the server"),
    (aiohttp.ServerDisconnectedError, "the server closed the connection without an answer"),
    (aiohttp.ClientPayloadError, "the response broke off, or its body could not be decoded"),
    (aiohttp.ClientResponseError, "the answer was not valid HTTP, or its headers were too many or too long"),
)


def blocked_reason(error: BaseException) -> str | None:
    """Why the guard, or the client's own check of the host, refused; None when something else failed."""
    for one in (error, error.__cause__):
        if isinstance(one, BlockedError):
            return one.reason
    if isinstance(error, aiohttp.InvalidURL):
        return "the host is not a name or a plainly written address"
    return None


def in_words(error: aiohttp.ClientError) -> str:
    """What happened, in one line, without anything that the URL or the server said."""
    for kind, words in _IN_WORDS:
        if isinstance(error, kind):
            return words
    if isinstance(error, OSError) and error.errno:
        return f"the connection failed: {os.strerror(error.errno)}"
    return "the connection failed"
