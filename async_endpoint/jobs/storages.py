"""What a dataset and a key-value store are to those who read them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from .outputs import Record


class Items(Protocol):
    """A dataset's items, in the order in which they were stored."""

    async def count(self) -> int:
        """How many there are."""

    async def count_clean(self) -> int:
        """How many are left when hidden fields and then empty items are skipped."""

    def pages(self, offset: int, limit: int, *, desc: bool) -> AsyncIterator[list[Any]]:
        """Some of them, a page at a time."""


class Records(Protocol):
    """The records of a key-value store."""

    async def get(self, key: str) -> Record | None:
        """The record under a key."""

    async def sizes(self) -> dict[str, int]:
        """Every key with the size of its record in bytes."""


class DefaultStorages(NamedTuple):
    """The service's own two storages, with their ids.

    Attributes:
        views: What each view of the dataset makes of its items, in the names of the parameters of "Get dataset items"
            of the Apify API.
    """

    dataset_id: str
    items: Items
    views: Mapping[str, Mapping[str, Any]]
    store_id: str
    records: Records
