"""JSON as text in bytes: what goes in was checked, so that it can be copied without another look."""

from __future__ import annotations

from pydantic_core import from_json, to_json

_DEEPEST = 150
"""Levels of nesting that are accepted: the parser takes 200, and what is stored and sent wraps a few around."""

_WRAPPING = 50


def encode(value: object) -> bytes:
    """A value as strict JSON text (RFC 8259).

    Raises:
        ValueError: It holds something that JSON has no word for (an object, NaN, half a surrogate pair), or is
            nested too deeply.
    """
    text = to_json(value)
    if b"NaN" in text or b"Infinity" in text:
        _check_numbers(text)
    check_depth(text)
    return text


def _check_numbers(text: bytes) -> None:
    try:
        from_json(text, allow_inf_nan=False)
    except ValueError:
        raise ValueError(
            "it holds a number that is none (NaN) or beyond all bounds (such as 1e999)"
        ) from None


def check_depth(text: bytes, room: int = 0) -> None:
    """Raise ValueError when a valid JSON text is nested too deeply to be wrapped and read again.

    `room` levels are left for what it will become a part of.
    """
    if text.count(b"[") + text.count(b"{") <= _DEEPEST - room:
        return
    wrapping = _WRAPPING + room
    try:
        from_json(b"[" * wrapping + text + b"]" * wrapping)
    except ValueError:
        raise ValueError(f"it is nested deeper than {_DEEPEST - room} levels") from None
