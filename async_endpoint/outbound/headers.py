"""Which headers a caller may set on a request, and which of them may follow a redirect to another origin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REFUSED = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of the connection and of the message's framing (RFC 9110, section 7.6.1): the sender's own."""

HARMLESS = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "content-language",
        "content-type",
        "pragma",
        "range",
        "user-agent",
    }
)
"""Headers that say nothing about who is asking, so that any origin may see them."""

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")


def check_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Give the headers back if a caller may set them.

    Raises:
        ValueError: One may not be set, is there twice, or is not a header (RFC 9110, section 5); the message names it.
    """
    names: set[str] = set()
    for name, value in headers.items():
        if name.lower() in names:
            raise ValueError(f"the header {name} is there twice; upper and lower case are the same")
        names.add(name.lower())
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not a header name")
        if name.lower() in REFUSED:
            raise ValueError(f"the header {name} cannot be set; it belongs to the connection")
        if _CONTROL.search(value):
            raise ValueError(f"the header {name} has a line break or another control character")
    return headers


def for_other_origin(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that may follow a redirect to another origin."""
    return {name: value for name, value in headers.items() if name.lower() in HARMLESS}
