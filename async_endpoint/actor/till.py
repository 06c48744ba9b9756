"""The platform's side of charging: the run's events, charged through the API."""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from apify_client.errors import ApifyApiError

if TYPE_CHECKING:
    from apify_client._resource_clients import RunClientAsync

EVENT = "completed-job"
"""The event that the Actor's pricing has to define."""

_TIMEOUT = timedelta(seconds=5)


class Till(Protocol):
    """The platform's side of charging."""

    async def charge(self, count: int, key: str) -> None:
        """Charge `count` events, once under one key; raises when that failed or the answer is unclear."""

    async def charged(self) -> int:
        """How many events the run has been charged for so far."""


class RunTill:
    """Charges the current run through the API, with the client's own retries off."""

    def __init__(self, client: RunClientAsync) -> None:
        self._client = client

    async def charge(self, count: int, key: str) -> None:
        """See `Till`."""
        await self._client.charge(EVENT, count=count, idempotency_key=key, timeout=_TIMEOUT)

    async def charged(self) -> int:
        """See `Till`."""
        run = await self._client.get(timeout=_TIMEOUT)
        if run is None:
            raise RuntimeError("the run is not found")
        return (run.charged_event_counts or {}).get(EVENT, 0)


def refused(exc: Exception) -> bool:
    """Whether the platform said clearly that it did not charge and will not."""
    passing = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT)
    return (
        isinstance(exc, ApifyApiError)
        and exc.status_code < HTTPStatus.INTERNAL_SERVER_ERROR
        and exc.status_code not in passing
    )
