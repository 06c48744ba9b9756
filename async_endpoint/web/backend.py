"""What the routes stand on, as one value in the application."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

from ..jobs.clock import now_ms

if TYPE_CHECKING:
    from ..environment import Environment
    from ..handlers.catalog import Catalog
    from ..jobs.metrics import Metrics
    from ..jobs.registry import JobRegistry
    from ..jobs.storages import DefaultStorages
    from ..jobs.store import JobStore
    from ..outbound.webhooks import Webhooks
    from ..settings import Settings
    from .presets import Presets


@dataclass(slots=True)
class Backend:
    """The parts of the service that requests need.

    Attributes:
        storages: The service's own dataset and key-value store.
        started_at: When this process started, in milliseconds since the epoch.
        ready: False until the registry has taken up what the store holds; there is no store or registry before.
    """

    settings: Settings
    environment: Environment
    catalog: Catalog
    metrics: Metrics
    presets: Presets = field(init=False)
    store: JobStore = field(init=False)
    registry: JobRegistry = field(init=False)
    webhooks: Webhooks = field(init=False)
    storages: DefaultStorages = field(init=False)
    started_at: int = field(default_factory=now_ms)
    ready: bool = False

    def url(self, path: str) -> str:
        """A link for clients: absolute where the public address is known, else a path."""
        return f"{self.environment.container_url or ''}{path}"


BACKEND = web.AppKey("BACKEND", Backend)
