"""Services for the acceptance tests: shared ones where a test needs no settings of its own."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.service import TOKEN, Client, Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from pathlib import Path


class Factory:
    """Makes services (not started yet) in folders of their own, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = count()
        self._services: list[Service] = []

    def __call__(
        self,
        settings: Mapping[str, Any] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        at: Path | None = None,
    ) -> Service:
        service = Service(at or self._folder / f"storage-{next(self._numbers)}", settings, env)
        self._services.append(service)
        return service

    def end(self) -> None:
        for service in self._services:
            service.kill_sync()


@pytest.fixture(scope="session")
def session_make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    factory = Factory(tmp_path_factory.mktemp("session"))
    yield factory
    factory.end()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Factory]:
    """Makes services of a test's own."""
    factory = Factory(tmp_path)
    yield factory
    factory.end()


@pytest.fixture(scope="session")
def shared(session_make: Factory) -> Service:
    """A service without token that many tests use; it must be as well at the end as at the start."""
    return session_make({"maxConcurrentTasks": 50}).launch_until_ready()


@pytest.fixture(scope="session")
def guarded(session_make: Factory) -> Service:
    """A service with an access token."""
    return session_make({"accessToken": TOKEN}).launch_until_ready()


@pytest.fixture(scope="session")
def single(session_make: Factory) -> Service:
    """A service with one slot and a short queue."""
    return session_make({"maxConcurrentTasks": 1, "maxQueuedTasks": 20}).launch_until_ready()


@pytest.fixture
async def http(shared: Service) -> AsyncIterator[Client]:
    async with shared.client() as client:
        yield client


@pytest.fixture
async def lone(single: Service) -> AsyncIterator[Client]:
    """A client of the service with one slot."""
    async with single.client() as client:
        yield client
