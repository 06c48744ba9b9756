"""`GET /` for people: a page's shell without any data; it asks the API itself, with the token its user gives it."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from . import discovery
from .ops import is_probe

_PAGE = (Path(__file__).parent / "page.html").read_bytes()
_HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Vary": "Accept",
}


async def root(request: web.Request) -> web.Response:
    """GET /: the page where HTML is preferred, else the JSON."""
    if _prefers_html(request) and not is_probe(request):
        return web.Response(body=_PAGE, headers=_HEADERS)
    answer = await discovery.root(request)
    answer.headers["Vary"] = "Accept"
    return answer


def is_open(request: web.Request) -> bool:
    """The page and the probe's answer hold no data."""
    return is_probe(request) or _prefers_html(request)


def _prefers_html(request: web.Request) -> bool:
    """Whether Accept ranks text/html above application/json (RFC 9110 §12.5.1); at a tie JSON wins."""
    qualities: dict[str, float] = {}
    for part in ",".join(request.headers.getall("Accept", [])).split(","):
        media, *parameters = (piece.strip().lower() for piece in part.split(";"))
        qualities[media] = max(qualities.get(media, 0.0), _quality(parameters))
    return _rank(qualities, "text/html") > _rank(qualities, "application/json")


def _rank(qualities: dict[str, float], media: str) -> tuple[float, int]:
    """The quality of the most specific range that names a media type; of equal ones the more specific wins."""
    ranges = (media, f"{media.partition('/')[0]}/*", "*/*")
    place = next((place for place, name in enumerate(ranges) if name in qualities), None)
    quality = 0.0 if place is None else qualities[ranges[place]]
    return (quality, -(place or 0)) if quality else (0.0, 0)


def _quality(parameters: list[str]) -> float:
    for parameter in parameters:
        if parameter.startswith("q="):
            try:
                return float(parameter[2:])
            except ValueError:
                return 0.0
    return 1.0
