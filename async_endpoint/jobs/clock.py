"""Wall-clock times as integer milliseconds since the epoch, and job ids that sort by creation."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - naive on purpose: iso() appends the Z itself
_COUNTER_BITS = 12


def now_ms() -> int:
    """The time now."""
    return time.time_ns() // 1_000_000


def iso(at: int) -> str:
    """A time as ISO 8601 in UTC with milliseconds, such as `2026-01-02T03:04:05.678Z`."""
    second, millisecond = divmod(at, 1000)
    return f"{_iso_second(second)}.{millisecond:03d}Z"


@lru_cache(maxsize=64)
def _iso_second(second: int) -> str:
    return (_EPOCH + timedelta(seconds=second)).isoformat()


def from_datetime(at: datetime) -> int:
    """A time with a zone as milliseconds; a fraction is cut."""
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class JobIds:
    """Makes UUIDv7 texts (RFC 9562 §5.7) that increase strictly, also when the clock is set back.

    The 12 bits after the version are a counter within the millisecond (§6.2, method 1); when it overflows,
    the next millisecond is borrowed.
    """

    def __init__(self) -> None:
        self._last = 0
        self._random = random.Random()  # noqa: S311 - ids are no secrets, and this releases no lock

    def resume_after(self, job_id: str) -> None:
        """Make every further id sort after this one."""
        digits = job_id.replace("-", "")
        self._last = max(self._last, int(digits[:12] + digits[13:16], 16))

    def __call__(self) -> str:
        """A new id."""
        self._last = last = max(self._last + 1, now_ms() << _COUNTER_BITS)
        tail = self._random.getrandbits(62)
        return (
            f"{last >> 28:08x}-{last >> 12 & 0xFFFF:04x}-7{last & 0xFFF:03x}"
            f"-{tail >> 48 | 0x8000:04x}-{tail & 0xFFFF_FFFF_FFFF:012x}"
        )
