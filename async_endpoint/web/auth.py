"""Who may ask: the access token, or, where none is set, only this machine's own programs and pages."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ..errors import CredentialsDiffer, ForeignHost, ForeignOrigin, Unauthorized
from .requests import query

if TYPE_CHECKING:
    from aiohttp import web

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class Gatekeeper:
    """Checks the credentials of requests.

    Args:
        token: The access token; None lets everybody in who is not a foreign page.
        loopback: Whether the service listens on loopback only.
    """

    def __init__(self, token: str | None, *, loopback: bool) -> None:
        self._expected = None if token is None else _digest(token)
        self._loopback = loopback

    def check(self, request: web.Request) -> None:
        """Raises Unauthorized, CredentialsDiffer, ForeignOrigin or ForeignHost."""
        if self._expected is None:
            self._check_origin(request)
        elif not self._matches(_credential(request)):
            raise Unauthorized

    def _matches(self, token: str | None) -> bool:
        return token is not None and hmac.compare_digest(_digest(token), self._expected or b"")

    def _check_origin(self, request: web.Request) -> None:
        host = request.headers.get("Host", "")
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != host.lower():
            raise ForeignOrigin
        if self._loopback and _host_name(host) not in _LOOPBACK_NAMES:
            raise ForeignHost


def _credential(request: web.Request) -> str | None:
    """The token a request bears; `X-Api-Key` alone decides where it is present."""
    headers = request.headers
    api_key = headers.get("X-Api-Key")
    if api_key is not None:
        return api_key
    in_query = query(request, "token")
    scheme, _, in_header = headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return in_query
    in_header = in_header.strip()
    if in_query is not None and not hmac.compare_digest(_digest(in_query), _digest(in_header)):
        raise CredentialsDiffer
    return in_header


def _digest(text: str) -> bytes:
    """Raw header bytes arrive as surrogates, and only bytes of equal length compare in constant time."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()


@lru_cache(maxsize=64)
def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
