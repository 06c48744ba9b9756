"""Response bodies: read to a bound, and shown as text or base64."""

from __future__ import annotations

import base64
import codecs
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from .decoding import CodingError, Plain, decoder_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .decoding import Decoder

MAX_BODY_BYTES = 10 * 1024 * 1024
"""After so many bytes, decompressed, reading stops."""

MAX_SHOWN_CHARS = 50_000
SHOWN_BYTES = 4 * MAX_SHOWN_CHARS
"""What of a body has to be kept to show it: hardly an encoding needs more than four bytes a character."""

TEXT_TYPES = frozenset(
    {
        "application/ecmascript",
        "application/graphql",
        "application/javascript",
        "application/json",
        "application/jsonl",
        "application/ndjson",
        "application/sql",
        "application/toml",
        "application/x-javascript",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/x-yaml",
        "application/xml",
        "application/xml-dtd",
        "application/yaml",
    }
)
TEXT_SUFFIXES = ("+json", "+xml", "+yaml")

PYTHON_ONLY_CODECS = frozenset(
    {
        "idna",
        "mbcs",
        "oem",
        "palmos",
        "punycode",
        "raw_unicode_escape",
        "undefined",
        "unicode_escape",
        "utf_7",
    }
)
"""Codecs that are no character sets: slow ones, and ones whose text may not be encodable again."""


class Body(NamedTuple):
    """What was read of a response's body.

    Attributes:
        start: The first bytes: as many as were to be kept.
        size: How many bytes were read, decompressed.
        complete: Whether that was all of it.
        decoded: Whether its content coding, if it had one, was undone.
    """

    start: bytes
    size: int
    complete: bool
    decoded: bool = True


class Shown(NamedTuple):
    """A body as part of a result.

    Attributes:
        text: At most `MAX_SHOWN_CHARS` characters.
        encoding: How `text` stands for the bytes: `text` or `base64`.
        truncated: Whether something is missing.
    """

    text: str
    encoding: str
    truncated: bool


async def read_body(response: aiohttp.ClientResponse, keep: int) -> Body:
    """Read a body to its end, or until it is longer than `MAX_BODY_BYTES`; then the connection is closed.

    Args:
        response: A response of an `undecoded` session whose body has not been read.
        keep: How many bytes to keep.

    Raises:
        aiohttp.ClientPayloadError: It broke off, or is not what its content coding says.
    """
    known = decoder_of(response.headers.get("Content-Encoding", ""))
    decoder = known or Plain()
    parts: list[bytes] = []
    size = 0
    begun = False
    while chunk := await response.content.readany():
        begun = True
        for piece in _decoded(decoder, chunk):
            if size < keep:
                parts.append(piece if size + len(piece) <= keep else piece[: keep - size])
            size += len(piece)
            if size > MAX_BODY_BYTES:
                response.close()
                return Body(b"".join(parts), size, complete=False, decoded=known is not None)
    # Without a single byte it is whole in every coding: it may be the answer to a HEAD.
    if begun and not decoder.whole:
        raise aiohttp.ClientPayloadError("the coded body has no end")
    return Body(b"".join(parts), size, complete=True, decoded=known is not None)


def _decoded(decoder: Decoder, chunk: bytes) -> Iterator[bytes]:
    try:
        yield from decoder.decode(chunk)
    except CodingError as exc:
        raise aiohttp.ClientPayloadError("the body is not what its coding says") from exc


def show(body: Body, content_type: str | None, charset: str | None) -> Shown:
    """Make text of a body that is text, by its charset or as UTF-8, and base64 of any other.

    Args:
        body: The body, with at least its first `SHOWN_BYTES`.
        content_type: The media type in lower case; None when the response has none, then only UTF-8 is text.
        charset: The charset it names.
    """
    if len(body.start) > SHOWN_BYTES:
        body = body._replace(start=body.start[:SHOWN_BYTES])
    if not body.decoded:
        return _base64(body)
    if content_type is None:
        return _text(body, "utf-8") if _is_utf8(body) else _base64(body)
    if charset is None and not _is_text(content_type):
        return _base64(body)
    return _text(body, _codec(charset))


def _is_text(content_type: str) -> bool:
    return (
        content_type.startswith("text/") or content_type in TEXT_TYPES or content_type.endswith(TEXT_SUFFIXES)
    )


@lru_cache(maxsize=64)
def _codec(charset: str | None) -> str:
    """The codec of a charset; UTF-8, without its byte order mark, if there is none."""
    try:
        name = codecs.lookup(charset or "utf-8").name
        b"a".decode(name, "ignore")  # refuses codecs that do not yield text, such as zlib
    except (LookupError, ValueError):
        return "utf-8-sig"
    return "utf-8-sig" if name == "utf-8" or name.replace("-", "_") in PYTHON_ONLY_CODECS else name


def _is_utf8(body: Body) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(body.start, final=_is_whole(body))
    except UnicodeDecodeError:
        return False
    return "\0" not in text


def _text(body: Body, codec: str) -> Shown:
    text = body.start.decode(codec, "replace")
    if not _is_whole(body):
        # What the end of the kept bytes has cut in two is no character, not even a replacement.
        return Shown(text.rstrip("\ufffd")[:MAX_SHOWN_CHARS], "text", truncated=True)
    return Shown(text[:MAX_SHOWN_CHARS], "text", len(text) > MAX_SHOWN_CHARS)


def _base64(body: Body) -> Shown:
    fits = MAX_SHOWN_CHARS // 4 * 3
    start = body.start[:fits]
    return Shown(
        base64.b64encode(start).decode("ascii"), "base64", len(start) < body.size or not body.complete
    )


def _is_whole(body: Body) -> bool:
    return body.complete and len(body.start) == body.size
