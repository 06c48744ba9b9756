"""What the service offers: the JSON at `GET /`, and the OpenAPI document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from .. import __version__
from ..errors import Draining, Starting
from .backend import BACKEND
from .ops import SERVICE, is_probe
from .responses import json_value

if TYPE_CHECKING:
    from .routes import Route

ROUTES = web.AppKey("ROUTES", list["Route"])
DOCUMENT = web.AppKey("DOCUMENT", dict[str, Any])


async def root(request: web.Request) -> web.Response:
    """GET /: what is here; for the platform's probe, whether jobs are accepted."""
    backend = request.app[BACKEND]
    if is_probe(request):
        if not backend.ready:
            raise Starting
        if backend.registry.draining:
            raise Draining
        return web.Response()
    return json_value(
        {
            "service": SERVICE,
            "version": __version__,
            **(
                {"containerUrl": backend.environment.container_url}
                if backend.environment.container_url
                else {}
            ),
            "routes": [
                {"method": route.method, "path": route.path, "summary": route.summary}
                for route in request.app[ROUTES]
            ],
            "taskTypes": sorted(backend.catalog.types),
            "presets": sorted(backend.settings.presets),
        }
    )


async def openapi(request: web.Request) -> web.Response:
    """GET /openapi.json."""
    return json_value(request.app[DOCUMENT])
