from __future__ import annotations

import encodings.aliases

import pytest
from hypothesis import given
from hypothesis import strategies as st

from async_endpoint.outbound.bodies import MAX_SHOWN_CHARS, Body, show

CODECS = sorted(set(encodings.aliases.aliases.values()) | {"idna", "punycode", "undefined", "unicode_escape"})


@given(st.sampled_from(CODECS), st.binary(max_size=200), st.booleans())
def test_whatever_the_charset_the_text_can_be_written_as_utf8(
    charset: str, data: bytes, complete: bool
) -> None:
    text, encoding, truncated = show(Body(data, len(data), complete), "text/plain", charset)
    assert text.encode().decode() == text
    assert encoding == "text"
    assert truncated is not complete


@pytest.mark.parametrize(
    "charset", ["punycode", "idna", "utf-7", "unicode_escape", "rot13", "hex", "nonsense", ""]
)
def test_charsets_that_are_none_count_as_utf8(charset: str) -> None:
    data = "+2AA- ü \\x41".encode()
    assert show(Body(data, len(data), True), "text/plain", charset).text == data.decode()


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "application/json",
        "application/ld+json",
        "image/svg+xml",
        "application/x-www-form-urlencoded",
    ],
)
def test_media_types_of_text(content_type: str) -> None:
    assert show(Body(b"a", 1, True), content_type, None) == ("a", "text", False)


@pytest.mark.parametrize(
    "content_type", ["image/png", "application/pdf", "application/octet-stream", "video/mp4"]
)
def test_media_types_of_bytes(content_type: str) -> None:
    assert show(Body(b"a", 1, True), content_type, None) == ("YQ==", "base64", False)


def test_a_cut_character_is_left_out_and_not_replaced() -> None:
    data = "ü".encode()[:1]
    assert show(Body(b"a" + data, 100, complete=False), "text/plain", None) == ("a", "text", True)
    assert show(Body(b"a" + data, 2, complete=True), "text/plain", None) == ("a\ufffd", "text", False)
    assert show(Body(b"a" + data, 100, complete=False), None, None) == ("a", "text", True)


def test_more_may_be_kept_than_is_shown() -> None:
    data = b"a" * 1_000_000
    assert show(Body(data, len(data), True), "text/plain", None) == ("a" * MAX_SHOWN_CHARS, "text", True)
