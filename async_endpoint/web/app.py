"""The one aiohttp Application."""

from __future__ import annotations

from aiohttp import web

from . import api, discovery
from .apify_api import answers, endpoints
from .auth import Gatekeeper
from .backend import BACKEND, Backend
from .middlewares import answer_with_problem, guard
from .openapi import document
from .routes import Routes

_URL_BYTES = 16_384


def build_app(backend: Backend) -> web.Application:
    """The application over a backend, which may not be ready yet."""
    token = backend.settings.access_token
    host = backend.environment.host(token_set=token is not None)
    gatekeeper = Gatekeeper(
        None if token is None else token.get_secret_value(), loopback=host.startswith("127.")
    )
    routes = Routes([*api.ROUTES], {endpoints.PREFIX: answers.error_answer}, answer_with_problem)
    app = web.Application(
        middlewares=[guard(gatekeeper, routes)],
        client_max_size=backend.settings.max_body_bytes,
        handler_args={"max_line_size": _URL_BYTES, "max_field_size": _URL_BYTES},
    )
    app[BACKEND] = backend
    app[discovery.ROUTES] = routes.routes
    app[discovery.DOCUMENT] = document(routes.routes, backend.catalog.types)
    app.add_routes(routes.definitions())
    app.router.add_route("*", f"{endpoints.PREFIX}{{path:.*}}", endpoints.serve, expect_handler=routes.expect)
    return app
