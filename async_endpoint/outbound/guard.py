"""The guard: where a connection that somebody else asked for may go.

Two rules. A URL is http or https and carries no credentials (`check_url`). A socket is opened only to an
address that is public unicast (`GuardedSockets`): every connection passes there with the address that will
really be used, so no spelling of a URL, no DNS answer and no redirect leads around it. What cannot be parsed
is refused.
"""

from __future__ import annotations

import errno
import re
import socket
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any
from urllib.parse import quote

from yarl import URL

from .addresses import is_metadata, special_use

SCHEMES = ("http", "https")
CONTROL_CHARACTERS = re.compile(r"[\x00-\x1f\x7f]")
NOT_IN_A_HOST = re.compile(r"[\x00-\x20\x7f\"#%/<>?@\[\\\]^`{|}]")
STRAY_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
IN_A_QUERY = "!$%&'()*+,/:;=?@-._~"
"""What a query holds as it is (RFC 3986, section 3.4), beside letters and digits."""

ADDRESS_FAMILIES = (socket.AF_INET, socket.AF_INET6)


class BlockedError(OSError):
    """The guard refused a URL or an address; `reason` says why.

    An OSError, because that is what a connector takes from a socket factory. Its text is always the same:
    with several addresses of one host, the connector passes on an exception only when all of them read alike.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EACCES, "refused by the guard")
        self.reason = reason


@lru_cache(maxsize=256)
def parse_url(text: str, base: URL | None = None) -> URL:
    """Read a URL as the client will use it; whether it may be requested is `check_url`'s to say.

    Args:
        text: The URL; with a `base` it may be relative.
        base: What a relative URL is relative to.

    Raises:
        ValueError: It is not a URL, or not a whole one.
    """
    if CONTROL_CHARACTERS.search(text):
        raise ValueError("the URL has a control character")
    try:
        url = _read(text.strip(" "), base)
    except (ValueError, IndexError):  # IndexError: yarl's, for a few malformed bracketed hosts
        raise ValueError("this is not a URL") from None
    if not url.scheme:
        raise ValueError("the URL needs a scheme, as in https://example.com")
    host = url.raw_host or ""
    if url.scheme in SCHEMES and not host:
        raise ValueError("the URL needs a host, as in https://example.com")
    if ":" not in host and NOT_IN_A_HOST.search(host):
        raise ValueError("the URL's host has a character that no host can have")
    return url


def _read(text: str, base: URL | None) -> URL:
    """The URL, with its query as it was written: a signature of it may count on `%2F` being no `/`."""
    url = base.join(URL(text)) if base else URL(text)
    query = text.partition("#")[0].partition("?")[2]
    if not query or not url.raw_authority:
        return url
    query = quote(STRAY_PERCENT.sub("%25", query), safe=IN_A_QUERY)
    return URL.build(
        scheme=url.scheme,
        authority=url.raw_authority,
        path=url.raw_path,
        query_string=query,
        fragment=url.raw_fragment,
        encoded=True,
    )


def check_url(url: URL) -> None:
    """Refuse what is not http or https, has no host, or carries credentials.

    Raises:
        BlockedError: The URL may not be requested.
    """
    if url.scheme not in SCHEMES:
        raise BlockedError("only http and https URLs are allowed")
    if not url.raw_host:
        raise BlockedError("the URL has no host")
    if url.raw_user is not None or url.raw_password is not None:
        raise BlockedError("credentials in a URL are not allowed; send them as a header")


class GuardedSockets:
    """A socket factory for aiohttp's connector: opens sockets only towards addresses that may be reached.

    Args:
        allow_private: Let through everything but the metadata services of clouds.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        self._allow_private = allow_private

    def __call__(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """Open, but do not connect, a socket for an entry as `getaddrinfo` returns them.

        Raises:
            BlockedError: The address may not be reached.
        """
        family, kind, protocol, _, address = addr_info
        scope = address[3] if len(address) == 4 else 0
        if family not in ADDRESS_FAMILIES or (scope and not self._allow_private):
            raise BlockedError("the address is not of a public network")
        if reason := refusal(address[0], allow_private=self._allow_private):
            raise BlockedError(reason)
        return socket.socket(family, kind, protocol)


@lru_cache(maxsize=1024)
def refusal(address: str, *, allow_private: bool) -> str | None:
    """Why no connection to this address may be made; None when it may be."""
    try:
        ip = ip_address(address)
    except ValueError:
        return "the address is not an IP address"
    if is_metadata(ip):
        return "the address may be a cloud's metadata service"
    if allow_private:
        return None
    if isinstance(ip, IPv6Address) and ip.scope_id is not None:
        return "the address has a scope"
    use = special_use(ip)
    return f"the address is not public ({use})" if use else None
