"""What a webhook must be like so that deliveries can be made: its URL, its secret and its headers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .guard import BlockedError, check_url, parse_url
from .headers import check_headers
from .signing import decode_secret

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..jobs.model import WebhookOptions


def receiver_faults(webhook: WebhookOptions) -> Iterator[tuple[str, str]]:
    """Every member that is not right, and why, without the value: it may be secret."""
    yield from _fault("url", lambda: check_url(parse_url(webhook.url)))
    if webhook.events == ():
        yield "events", "name one event at least, or leave it out for the terminal ones"
    if webhook.secret is not None:
        secret = webhook.secret
        yield from _fault("secret", lambda: decode_secret(secret))
    if webhook.headers:
        headers = webhook.headers
        yield from _fault("headers", lambda: check_headers(headers))


def _fault(member: str, check: Callable[[], object]) -> Iterator[tuple[str, str]]:
    try:
        check()
    except BlockedError as error:
        yield member, error.reason
    except ValueError as error:
        yield member, str(error)
