"""The yardstick: the least aiohttp app that answers the same requests. `python bare.py PORT` serves it."""

from __future__ import annotations

import asyncio
import sys

from aiohttp import web


async def echo(request: web.Request) -> web.Response:
    """Answer the parsed JSON body."""
    return web.json_response(await request.json())


async def sleep(request: web.Request) -> web.Response:
    """Answer after the body's `ms` milliseconds."""
    task = await request.json()
    await asyncio.sleep(task["ms"] / 1000)
    return web.json_response(task)


async def health(_request: web.Request) -> web.Response:
    """Answer at once: the app is up."""
    return web.json_response({"ok": True})


def make_app() -> web.Application:
    """The app with its three routes."""
    app = web.Application()
    app.add_routes([web.post("/echo", echo), web.post("/sleep", sleep), web.get("/health", health)])
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)
