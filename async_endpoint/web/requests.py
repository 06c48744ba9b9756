"""Reads requests strictly: whatever is wrong with one becomes a ServiceError, never a 500."""

from __future__ import annotations

import asyncio
import math
import re
from datetime import datetime
from typing import Any, NamedTuple

from aiohttp import web
from pydantic_core import from_json

from ..errors import BadRequest, BodyTooLarge, BodyTooSlow, UnsupportedMediaType
from ..jobs.clock import from_datetime
from ..jobs.jsontext import encode

BODY_SECONDS = 30.0
"""How long a body may take to arrive."""

CODINGS = ("identity", "gzip", "deflate", "br", "zstd")
"""Values of Content-Encoding that aiohttp knows; it takes any other for none at all."""

VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
_PREFERENCE = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')
_LONGEST_WAIT = 10**9
_NDJSON = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})
_UNICODE = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


async def read_body(request: web.Request) -> bytes:
    """The whole body, decompressed, at most `maxBodyBytes` long; to be called once."""
    if (request.content_length or 0) > request.client_max_size:
        raise BodyTooLarge
    if request.headers.get("Content-Encoding", "identity").lower() not in CODINGS:
        raise UnsupportedMediaType(f"The Content-Encoding must be one of {', '.join(CODINGS)}.")
    try:
        if request.content.is_eof():
            return _all_of(request)
        async with asyncio.timeout(BODY_SECONDS):
            return await request.read()
    except TimeoutError:
        raise BodyTooSlow from None
    except web.HTTPRequestEntityTooLarge:
        raise BodyTooLarge from None
    except web.RequestPayloadError as exc:
        reason = str(exc).rpartition("\n")[2].strip(" .")  # aiohttp puts a status and a line break before it
        raise BadRequest(f"The body cannot be read: {reason}.") from None


def _all_of(request: web.Request) -> bytes:
    """What `request.read()` gives for a body that is all there, in a third of the time."""
    body = request.content.read_nowait()
    if len(body) > request.client_max_size:
        raise BodyTooLarge
    return body


async def read_json(request: web.Request) -> Any:
    """The body as JSON (RFC 8259: UTF-8, no NaN); how deep it is and how large its numbers are is not checked."""
    _check_type(request, is_json=_is_json(request.content_type))
    body = await read_body(request)
    if not body.strip():
        raise BadRequest("The body is empty; send a JSON object.")
    return _parse(body)


async def read_optional_json(request: web.Request) -> Any:
    """The same; None when there is no body."""
    if not request.body_exists:
        return None
    body = await read_body(request)
    if not body:
        return None
    _check_type(request, is_json=_is_json(request.content_type))
    return _parse(body)


async def read_json_list(request: web.Request) -> list[Any]:
    """The body as a JSON array, or as one JSON text a line (`application/x-ndjson`).

    In the place of a line that is not JSON stands the BadRequest that says so.
    """
    is_lines = request.content_type in _NDJSON
    _check_type(request, is_json=is_lines or _is_json(request.content_type))
    body = await read_body(request)
    if is_lines:
        return [_parse_line(n, line) for n, line in enumerate(body.split(b"\n"), 1) if line.strip()]
    values = _parse(body)
    if not isinstance(values, list):
        raise BadRequest(
            "The body must be a JSON array of tasks, or one task a line as application/x-ndjson."
        )
    return values


def _parse_line(number: int, line: bytes) -> Any:
    try:
        return _parse(line, f"Line {number}")
    except BadRequest as exc:
        return exc


def parse_json(text: bytes, where: str = "The body") -> Any:
    """JSON that can be written again: not too deep, and with no number that the parser takes for infinity."""
    value = _parse(text, where)
    try:
        encode(value)
    except ValueError as exc:
        raise _not_json(where, exc) from None
    return value


def _parse(text: bytes, where: str = "The body") -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as exc:
        raise _not_json(where, exc) from None


def _not_json(where: str, fault: ValueError) -> BadRequest:
    return BadRequest(f"{where} is not valid JSON: {fault}.")


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")


def _check_type(request: web.Request, *, is_json: bool) -> None:
    if not is_json:
        raise UnsupportedMediaType
    if (request.charset or "utf-8").lower() not in _UNICODE:
        raise BadRequest("The body must be UTF-8; leave the charset out of Content-Type.")


# --- query and headers ---


def query(request: web.Request, name: str) -> str | None:
    """A query parameter; of several with this name the first."""
    return request.query.get(name) if request.rel_url.raw_query_string else None


def integer(request: web.Request, name: str, least: int, most: int) -> int | None:
    """A query parameter as a whole number within bounds."""
    text = query(request, name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text) or not least <= int(text) <= most:
        raise BadRequest(f"{name} must be a whole number from {least} to {most}, not {text[:50]!r}.")
    return int(text)


def time_of(request: web.Request, name: str) -> int | None:
    """A query parameter as an ISO 8601 time, in milliseconds since the epoch; UTC where it names no zone."""
    text = query(request, name)
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text.replace(" ", "+") if "T" in text else text)
        return from_datetime(
            at if at.tzinfo is not None else datetime.fromisoformat(f"{at.isoformat()}+00:00")
        )
    except (ValueError, OverflowError):
        example = "2026-01-02T03:04:05Z"
        raise BadRequest(f"{name} must be an ISO 8601 time such as {example}, not {text[:50]!r}.") from None


def milliseconds(value: object, name: str) -> float:
    """A duration from a query or a body."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]+(\.[0-9]*)?([eE][-+]?[0-9]+)?", value):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    raise BadRequest(f"{name} must be a number of milliseconds, not {str(value)[:50]!r}.")


def idempotency_key(request: web.Request) -> str | None:
    """The Idempotency-Key header."""
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not VISIBLE_ASCII.fullmatch(key):
        raise BadRequest("Idempotency-Key must have 1 to 255 visible ASCII characters.")
    if set(request.headers.getall("Idempotency-Key")) != {key}:
        raise BadRequest("There are two different Idempotency-Keys; send one.")
    return key


class Preferences(NamedTuple):
    """What a Prefer header asks for (RFC 7240); `wait` in seconds."""

    respond_async: bool = False
    wait: int | None = None

    def applied(self) -> dict[str, str]:
        """The header that says that they were honoured."""
        names = ["respond-async"] * self.respond_async + [f"wait={self.wait}"] * (self.wait is not None)
        return {"Preference-Applied": ", ".join(names)} if names else {}


def preferences(request: web.Request) -> Preferences:
    """The preferences that are understood; others are ignored, and of two alike the first counts (RFC 7240 §2)."""
    if "Prefer" not in request.headers:
        return Preferences()
    found: dict[str, str] = {}
    for part in _PREFERENCE.findall(",".join(request.headers.getall("Prefer"))):
        name, _, value = part.split(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait = found.get("wait", "")
    seconds = min(int(wait[:20]), _LONGEST_WAIT) if re.fullmatch(r"[0-9]+", wait) else None
    return Preferences("respond-async" in found, seconds)
