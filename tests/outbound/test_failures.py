from __future__ import annotations

import errno
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from async_endpoint.outbound.failures import blocked_reason, in_words
from async_endpoint.outbound.guard import BlockedError

KEY = ConnectionKey("secret.test", 443, True, True, None, None, None)


def caused(error: BaseException, cause: BaseException) -> Any:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (aiohttp.ClientConnectorDNSError(KEY, OSError(None, "secret")), "could not be resolved"),
        (
            aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("secret")),
            "certificate is not valid",
        ),
        (aiohttp.ClientConnectorSSLError(KEY, OSError(1, "secret")), "no secure connection"),
        (aiohttp.ServerDisconnectedError("secret"), "without an answer"),
        (aiohttp.ClientPayloadError("secret"), "broke off"),
        (aiohttp.ClientConnectorError(KEY, OSError(errno.ENETUNREACH, "secret")), "Network is unreachable"),
        (aiohttp.ClientOSError(errno.ECONNRESET, "secret"), "Connection reset by peer"),
        (aiohttp.ClientConnectorError(KEY, OSError("secret")), "the connection failed"),
        (aiohttp.ClientError("secret"), "the connection failed"),
    ],
)
def test_a_failure_in_words_without_what_the_server_said(error: aiohttp.ClientError, words: str) -> None:
    assert words in in_words(error)
    assert "secret" not in in_words(error)
    assert blocked_reason(error) is None


def test_the_guards_reason_is_found_behind_the_clients_error() -> None:
    refused = BlockedError("for a reason")
    assert blocked_reason(refused) == "for a reason"
    assert blocked_reason(caused(aiohttp.ClientConnectorError(KEY, refused), refused)) == "for a reason"


def test_a_host_that_the_client_refuses_is_blocked() -> None:
    assert "plainly written" in str(blocked_reason(aiohttp.InvalidURL("http://127.1/secret")))
    assert blocked_reason(ValueError("x")) is None
