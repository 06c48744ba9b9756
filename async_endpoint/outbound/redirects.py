"""Following redirects by hand, so that each hop is checked and no header goes where it should not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from .guard import BlockedError, parse_url
from .headers import for_other_origin
from .session import send

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    from yarl import URL

REDIRECTS = frozenset({301, 302, 303, 307, 308})
BODY_HEADERS = frozenset({"content-encoding", "content-language", "content-location", "content-type"})


@dataclass(frozen=True, slots=True)
class OutboundRequest:
    """A request that can be sent more than once.

    Attributes:
        method: In upper case.
        url: Where to.
        headers: What the caller set.
        body: What it carries; None without a body.
    """

    method: str
    url: URL
    headers: dict[str, str]
    body: bytes | None = None


class Answer(NamedTuple):
    """A response whose body has not been read, and how many redirects led to it."""

    response: aiohttp.ClientResponse
    hops: int


async def send_following(
    session: aiohttp.ClientSession,
    request: OutboundRequest,
    *,
    max_redirects: int,
    check: Callable[[URL], None],
) -> Answer:
    """Send a request and follow its redirects; the one after `max_redirects` is an answer like any other.

    Args:
        session: A session of `open_session`.
        request: The request.
        max_redirects: How many redirects to follow.
        check: Raises `BlockedError` for a URL that may not be requested; asked before each hop.

    Raises:
        BlockedError: A hop may not be requested.
        aiohttp.ClientError: There was no valid response; its cause is a `BlockedError` if the guard refused.
    """
    for hops in range(max_redirects + 1):
        check(request.url)
        response = await send(
            session, request.method, request.url, headers=request.headers, body=request.body
        )
        location = response.headers.get("Location") if response.status in REDIRECTS else None
        if location is None or hops == max_redirects:
            break
        response.release()
        request = next_request(request, response.status, location)
    return Answer(response, hops)


def next_request(request: OutboundRequest, status: int, location: str) -> OutboundRequest:
    """The request that a redirect asks for (Fetch Standard, "HTTP-redirect fetch").

    303 turns everything but HEAD into GET, 301 and 302 only POST; the others keep method and body. Another
    origin sees only harmless headers.

    Raises:
        BlockedError: The location is not a URL.
    """
    try:
        url = parse_url(location, base=request.url)
    except ValueError as exc:
        raise BlockedError(f"a redirect leads nowhere: {exc}") from exc
    method, headers, body = request.method, request.headers, request.body
    if (status == 303 and method not in ("GET", "HEAD")) or (status in (301, 302) and method == "POST"):
        method, body = "GET", None
        headers = {name: value for name, value in headers.items() if name.lower() not in BODY_HEADERS}
    if _origin(url) != _origin(request.url):
        headers = for_other_origin(headers)
    return OutboundRequest(method, url, headers, body)


def _origin(url: URL) -> tuple[str, str | None, int | None]:
    return url.scheme, url.raw_host, url.port
