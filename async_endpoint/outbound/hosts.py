"""Lists of host names, as operators write them: exact names and `*.example.com`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from yarl import URL

if TYPE_CHECKING:
    from collections.abc import Iterable


class HostList:
    """A set of hosts: `api.example.com` is that host, `*.example.com` every host below it, at any depth.

    Case, a trailing dot, and the written form of an international name or an IP address make no difference.

    Args:
        patterns: The entries, without scheme, port or path.

    Raises:
        ValueError: An entry is not a host or a pattern; the message quotes it.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        entries = [_parse(pattern) for pattern in patterns]
        self._exact = frozenset(entry for entry in entries if not entry.startswith("."))
        self._below = tuple(entry for entry in entries if entry.startswith("."))

    def __contains__(self, host: object) -> bool:
        """Whether the list has this host, given as in `URL.raw_host`."""
        if not isinstance(host, str):
            return False
        name = host.rstrip(".")
        return name in self._exact or name.endswith(self._below)


def _parse(pattern: str) -> str:
    """The normal form of an entry; one that stands for the hosts below a name begins with a dot."""
    text = pattern.strip()
    below = text.startswith("*.")
    bare = text.removeprefix("*.").removeprefix("[").removesuffix("]")
    try:
        host = URL.build(scheme="http", host=bare).raw_host
    except ValueError:
        host = None
    if not host or "*" in host or not host.strip("."):
        raise ValueError(f"{pattern!r} is not a host name, and not of the form '*.example.com'")
    return ("." if below else "") + host.rstrip(".")
