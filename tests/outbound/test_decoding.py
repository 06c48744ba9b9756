from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import brotli
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from async_endpoint.outbound.decoding import CodingError, Plain, decoder_of

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT = "".join(f"line {n * n}\n" for n in range(500)).encode()
ZEROS = bytes(200_000)


def bare_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip, two members": ("GZip", lambda data: gzip.compress(data[:99]) + gzip.compress(data[99:])),
    "deflate": ("deflate", zlib.compress),
    "deflate without zlib": ("deflate", bare_deflate),
    "brotli": ("br", brotli.compress),
}


def decoded(coding: str, data: bytes, step: int) -> tuple[bytes, bool]:
    """What comes of the data in chunks of so many bytes, and whether it may end there."""
    decoder = decoder_of(coding)
    assert decoder is not None
    pieces = [
        piece for start in range(0, len(data), step) for piece in decoder.decode(data[start : start + step])
    ]
    assert max(map(len, pieces), default=0) < 2**18
    return b"".join(pieces), decoder.whole


@pytest.mark.parametrize(("coding", "pack"), PACKED.values(), ids=PACKED)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(data=st.one_of(st.binary(), st.just(TEXT), st.just(ZEROS)), step=st.integers(1, 2000))
def test_chunks_of_any_size_give_the_body_back(
    coding: str, pack: Callable[[bytes], bytes], data: bytes, step: int
) -> None:
    assert decoded(coding, pack(data), step) == (data, True)


@pytest.mark.parametrize(("coding", "pack"), PACKED.values(), ids=PACKED)
def test_an_end_that_is_missing_is_noticed(coding: str, pack: Callable[[bytes], bytes]) -> None:
    whole = pack(TEXT)
    for size in (1, 2, len(whole) // 2, len(whole) - 1):
        body, complete = decoded(coding, whole[:size], 100)
        assert not complete
        assert TEXT.startswith(body)


@pytest.mark.parametrize("name", [name for name in PACKED if name != "brotli"])
def test_what_follows_the_end_is_left_out(name: str) -> None:
    coding, pack = PACKED[name]
    assert decoded(coding, pack(TEXT) + b"\0" * 500, 64) == (TEXT, True)


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_what_is_not_of_the_coding_is_refused(coding: str) -> None:
    with pytest.raises(CodingError):
        decoded(coding, b"\xff\xff not compressed at all", 100)


def test_names_of_codings() -> None:
    assert isinstance(decoder_of(""), Plain)
    assert isinstance(decoder_of(" Identity"), Plain)
    assert decoded("x-gzip", gzip.compress(b"a"), 1) == (b"a", True)
    assert [decoder_of(unknown) for unknown in ("zstd", "gzip, gzip", "compress")] == [None] * 3
