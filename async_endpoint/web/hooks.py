"""Webhooks in: `POST /hooks/{preset}` runs the preset with what the request carries."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from codecs import BOM_UTF8
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..errors import BadRequest, Starting
from ..jobs.idempotency import Idempotency
from ..jobs.jsontext import check_depth
from .backend import BACKEND
from .requests import VISIBLE_ASCII, idempotency_key, parse_json, read_body
from .tasks import accepted_answer, replayed

if TYPE_CHECKING:
    from aiohttp import web

    from .presets import Preset

_SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "cookie"})
_SECRET_WORDS = re.compile(r"signature|secret|hmac|api-?key|token$")
"""Signatures, and the secrets that some senders put in a header of their own, such as `X-Gitlab-Token`."""

_ROOM = 20
"""Levels of nesting that a preset may put around a body."""


def is_open(request: web.Request) -> bool:
    """Whether the preset checks signatures itself, so that no token is needed."""
    return request.app[BACKEND].presets.signed(request.match_info["preset"])


async def run(request: web.Request) -> web.Response:
    """POST /hooks/{preset}."""
    backend = request.app[BACKEND]
    if not backend.ready:
        raise Starting
    preset = backend.presets[request.match_info["preset"]]
    body = await read_body(request)
    if preset.verify is not None:
        preset.verify.verify(request.headers, body, time.time())
    parts = _parts(request, body, preset)
    task = backend.catalog.parse(backend.presets.task_for(preset, parts))
    task = task._replace(notes={"preset": preset.name, "origin": "WEBHOOK"})
    accepted = await backend.registry.submit([task], _idempotency(request, preset, parts, body))
    return accepted_answer(backend, accepted.jobs[0], replayed(accepted))


def _parts(request: web.Request, body: bytes, preset: Preset) -> dict[str, Any]:
    """What a preset's references take from, without secrets; the names of headers in lower case."""
    hidden = frozenset() if preset.verify is None else preset.verify.signature_headers
    headers: dict[str, str] = {}
    for name in map(str.lower, request.headers):
        if name not in hidden and not _is_secret(name):
            headers[name] = _clean(", ".join(request.headers.getall(name)))
    content_type = request.headers.get("Content-Type")
    return {
        "body": _content(body),
        "headers": headers,
        "query": _query(request),
        "contentType": None if content_type is None else _clean(content_type),
    }


def _is_secret(name: str) -> bool:
    return name in _SECRET_HEADERS or _SECRET_WORDS.search(name) is not None


def _query(request: web.Request) -> dict[str, Any]:
    """The query without the access token; a parameter that is repeated is a list."""
    query: dict[str, Any] = {}
    for name in request.query:
        if name != "token":
            values = [_clean(value) for value in request.query.getall(name)]
            query[_clean(name)] = values[0] if len(values) == 1 else values
    return query


def _content(body: bytes) -> Any:
    """A body as JSON where it is that and a task has room for it, else as text, else in base64."""
    with suppress(BadRequest, ValueError):
        content = parse_json(body.removeprefix(BOM_UTF8))
        check_depth(body, _ROOM)
        return content
    try:
        return body.decode()
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()


def _clean(text: str) -> str:
    """Text that fits into JSON: raw bytes of a header arrive as surrogates."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _idempotency(
    request: web.Request, preset: Preset, parts: dict[str, Any], body: bytes
) -> Idempotency | None:
    """The sender's own id of a verified delivery, else the Idempotency-Key; keys of presets are apart."""
    scope = f"hook:{preset.name}"
    key = idempotency_key(request)
    if preset.verify is not None and (delivery := preset.verify.delivery_id(request.headers, parts["body"])):
        # A sender that tries again changes headers, so its id alone decides.
        return Idempotency(scope, _fitting(delivery))
    if key is None:
        return None
    # Without the headers: proxies add some that differ each time.
    content = repr((parts["query"], parts["contentType"])).encode() + body
    return Idempotency(scope, key, hashlib.sha256(content).hexdigest())


def _fitting(delivery_id: str) -> str:
    """An id of any length and characters as a key."""
    if VISIBLE_ASCII.fullmatch(delivery_id):
        return delivery_id
    return "sha256:" + hashlib.sha256(delivery_id.encode("utf-8", "surrogateescape")).hexdigest()
