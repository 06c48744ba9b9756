"""Content codings (RFC 9110, section 8.4.1), undone piece by piece, so that memory stays bounded.

The client library would do it too, but takes a compressed body that ends too early for a whole one.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol

import brotli

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCEPTED = "gzip, deflate, br"

_PIECE_BYTES = 65_536
_GZIP, _ZLIB, _RAW = 31, 15, -15
"""What zlib calls its formats: gzip (RFC 1952), zlib (RFC 1950), and bare deflate (RFC 1951)."""

CodingError = (zlib.error, brotli.error)
"""What `Decoder.decode` raises for bytes that are not of its coding."""


class Decoder(Protocol):
    """Undoes one coding."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The next bytes of the body, in pieces."""

    @property
    def whole(self) -> bool:
        """Whether what was decoded may end here."""


class Plain:
    """No coding."""

    whole = True

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The bytes as they are."""
        yield data


class Inflater:
    """gzip, also of several members, and deflate, which some servers send without the zlib format around it."""

    def __init__(self, *, gzip: bool) -> None:
        self._gzip = gzip
        self._inner = zlib.decompressobj(_GZIP) if gzip else None

    @property
    def whole(self) -> bool:
        """Whether the last member has ended."""
        return self._inner is None or self._inner.eof

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The next bytes; what follows the end and is no further member is left out."""
        inner = self._inner = self._inner or zlib.decompressobj(_ZLIB if data[0] & 15 == 8 else _RAW)
        piece = b""
        while data or len(piece) == _PIECE_BYTES:
            if inner.eof:
                if not self._gzip or data[:1] != b"\x1f":
                    return
                inner = self._inner = zlib.decompressobj(_GZIP)
            piece = inner.decompress(data, _PIECE_BYTES)
            yield piece
            data = inner.unused_data if inner.eof else inner.unconsumed_tail


class Brotli:
    """Brotli (RFC 7932)."""

    def __init__(self) -> None:
        self._inner = brotli.Decompressor()

    @property
    def whole(self) -> bool:
        """Whether the stream has ended."""
        return bool(self._inner.is_finished())

    def decode(self, data: bytes) -> Iterator[bytes]:
        """The next bytes; chunks after the end are left out."""
        while not self._inner.is_finished():
            piece = self._inner.process(data, output_buffer_limit=_PIECE_BYTES)
            if not piece:
                return
            yield piece
            data = b""


def decoder_of(coding: str) -> Decoder | None:
    """What undoes the codings that a Content-Encoding names; None where nothing here does."""
    match coding.strip().lower():
        case "" | "identity":
            return Plain()
        case "gzip" | "x-gzip":
            return Inflater(gzip=True)
        case "deflate":
            return Inflater(gzip=False)
        case "br":
            return Brotli()
    return None
