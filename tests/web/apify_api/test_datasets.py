from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp.test_utils import TestClient, TestServer

from async_endpoint.environment import Environment
from async_endpoint.errors import Unavailable
from async_endpoint.handlers.catalog import load_catalog
from async_endpoint.jobs.metrics import Metrics
from async_endpoint.jobs.storages import DefaultStorages
from async_endpoint.settings import Settings
from async_endpoint.web.app import build_app
from async_endpoint.web.backend import Backend

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Platform:
    """Default storages that cannot be read: at all, or after the first page of items."""

    def __init__(self, counted: int | None) -> None:
        self._counted = counted

    async def count(self) -> int:
        if self._counted is None:
            raise Unavailable("The storage cannot be read.")
        return self._counted

    count_clean = count

    async def pages(self, offset: int, limit: int, *, desc: bool) -> AsyncIterator[list[Any]]:
        yield [{"number": 0}]
        raise Unavailable("The storage cannot be read.")

    async def get(self, key: str) -> None:
        raise Unavailable("The storage cannot be read.")

    async def sizes(self) -> dict[str, int]:
        raise Unavailable("The storage cannot be read.")


def client_of(platform: Platform) -> TestClient[Any, Any]:
    backend = Backend(Settings(), Environment(), load_catalog((), Settings()), Metrics())
    backend.storages = DefaultStorages("d", platform, {}, "s", platform)
    backend.ready = True
    return TestClient(TestServer(build_app(backend)))


@pytest.mark.parametrize(
    "path",
    [
        "datasets/default",
        "datasets/default/items",
        "datasets/d/items?format=csv",
        "key-value-stores/s/keys",
        "key-value-stores/default/records/a",
    ],
)
async def test_a_storage_that_cannot_be_read_now_may_be_read_later(path: str) -> None:
    async with client_of(Platform(None)) as client, client.get(f"/v2/{path}") as response:
        assert response.status == 503
        assert int(response.headers["Retry-After"]) >= 1
        error = (await response.json())["error"]
    assert error == {"type": "internal-server-error", "message": "The storage cannot be read."}


@pytest.mark.parametrize("item_format", ["json", "csv"])
async def test_items_that_cannot_be_read_to_the_end_look_like_it(item_format: str) -> None:
    path = f"/v2/datasets/default/items?format={item_format}"
    async with client_of(Platform(5)) as client, client.get(path) as response:
        assert response.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()
