"""The Retry-After header (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_MS = 24 * 3_600_000
"""A server can ask for no longer break than a day, in milliseconds."""


def parse_retry_after(value: str | None, now_ms: int) -> int | None:
    """How long a server wants to be left alone.

    Args:
        value: The header: seconds, or a date in any of HTTP's three forms.
        now_ms: The time in milliseconds since the epoch.

    Returns:
        Milliseconds from 0 to `LONGEST_MS`; None without a header that can be understood.
    """
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # More digits than these are too long anyway, and Python refuses to parse thousands of them.
        return LONGEST_MS if len(text) > 9 else min(int(text) * 1000, LONGEST_MS)
    date_ms = _parse_date(text)
    return None if date_ms is None else min(max(0, date_ms - now_ms), LONGEST_MS)


def _parse_date(text: str) -> int | None:
    try:
        date = parsedate_to_datetime(text)
        # HTTP dates are always UTC; the asctime form does not say so.
        return round((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
