from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from async_endpoint.errors import IdempotencyConflict
from async_endpoint.jobs.idempotency import Idempotency, KeyBook

if TYPE_CHECKING:
    from async_endpoint.jobs.store import JobStore

KEY = Idempotency("api", "key", "digest")


async def remember(store: JobStore, book: KeyBook, idempotency: Idempotency, *job_ids: str) -> None:
    """Submit as the registry does, and wait for the commit."""
    write = store.write([book.change(idempotency, job_ids)])
    book.reserve(idempotency, list(job_ids), write)
    known = book.find(idempotency)
    assert known is not None
    assert known.write is write
    await write.settled()
    book.settle(idempotency)


async def test_a_key_is_known_from_its_reservation_on(store: JobStore) -> None:
    book = KeyBook(store)
    assert book.find(KEY) is None
    await remember(store, book, KEY, "a", "b")
    for reader in (book, KeyBook(store)):
        assert reader.find(KEY) == (["a", "b"], "digest", None)


async def test_a_refused_submission_leaves_its_key_free(store: JobStore) -> None:
    book = KeyBook(store)
    book.reserve(KEY, ["a"], store.write([]))
    book.settle(KEY)
    assert book.find(KEY) is None


@pytest.mark.parametrize("committed", [False, True])
async def test_another_request_under_the_same_key_is_a_conflict(store: JobStore, committed: bool) -> None:
    book = KeyBook(store)
    if committed:
        await remember(store, book, KEY, "a")
    else:
        book.reserve(KEY, ["a"], store.write([]))
    with pytest.raises(IdempotencyConflict):
        book.find(KEY._replace(digest="other"))
    assert book.find(KEY) is not None


async def test_without_a_digest_the_key_alone_decides(store: JobStore) -> None:
    book = KeyBook(store)
    await remember(store, book, KEY, "a")
    await remember(store, book, Idempotency("api", "bare"), "b")
    assert book.find(KEY._replace(digest=None)) == (["a"], "digest", None)
    assert book.find(Idempotency("api", "bare", "any")) == (["b"], None, None)


async def test_scopes_do_not_share_keys(store: JobStore) -> None:
    book = KeyBook(store)
    await remember(store, book, KEY, "a")
    assert book.find(KEY._replace(scope="hook")) is None
