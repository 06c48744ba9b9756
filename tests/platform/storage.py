"""What the stand-in for the platform keeps and counts, and the ways in which it can fail."""

from __future__ import annotations

import re
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import random

MAX_PAYLOAD = 9_437_184
"""Largest record or push the platform takes, in bytes (9 MiB)."""

RATE_LIMITS = {"record": 200, "push": 400, "other": 60}
"""Requests a second for each kind of endpoint and resource, as the API documentation gives them."""

LONGEST_LAG = 10.0
"""Seconds for which old versions of a record are kept."""

CHARGE_KEY_LIFETIME = 180.0
"""Seconds for which the platform remembers a charge's idempotency key."""


@dataclass
class Fault:
    """One way to fail, for the calls whose `METHOD /path` matches `route`.

    Kinds: `status` answers with `status`; `hang` answers nothing for `seconds`; `cut` aborts the connection;
    `late` aborts it and applies the call `seconds` later. With `applied` the call takes effect before it
    fails.
    """

    kind: Literal["status", "hang", "cut", "late"]
    route: str = ".*"
    status: int = 500
    applied: bool = False
    probability: float = 1.0
    times: int | None = None
    seconds: float = 60.0

    def strikes(self, call: str, dice: random.Random) -> bool:
        """Whether this call fails; counts `times` down."""
        if self.times == 0 or not re.search(self.route, call) or dice.random() >= self.probability:
            return False
        if self.times is not None:
            self.times -= 1
        return True


def chaos(probability: float, *, hang_seconds: float = 1.5) -> list[Fault]:
    """Faults of every kind that together strike about `probability` of all calls except the events socket."""
    each = probability / 7
    route = "^(?!GET /events)"
    return [
        Fault("status", route, 429, probability=each),
        Fault("status", route, 500, probability=each),
        Fault("status", route, 500, applied=True, probability=each),
        Fault("cut", route, probability=each),
        Fault("cut", route, applied=True, probability=each),
        Fault("hang", route, applied=True, probability=each, seconds=hang_seconds),
        Fault("late", route, probability=each, seconds=hang_seconds),
    ]


@dataclass
class Call:
    """One request as it arrived: when (monotonic seconds), what, and how many bytes of body."""

    at: float
    name: str
    path: str
    size: int


@dataclass
class Storage:
    """Key-value records with their history (reads may lag), dataset items, and charges."""

    records: dict[str, list[tuple[float, bytes | None, str]]] = field(default_factory=dict)
    items: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    charged: Counter[str] = field(default_factory=Counter)
    charge_keys: dict[str, float] = field(default_factory=dict)
    charge_calls: list[tuple[str, int, str]] = field(default_factory=list)

    def put(self, key: str, value: bytes | None, content_type: str = "") -> None:
        """Write a record, or remove it with None."""
        now = time.monotonic()
        versions = self.records.setdefault(key, [])
        versions.append((now, value, content_type))
        while len(versions) > 1 and versions[1][0] < now - LONGEST_LAG:
            del versions[0]

    def record(self, key: str, lag: float = 0.0) -> tuple[bytes, str] | None:
        """The record as a reader sees it that is `lag` seconds behind."""
        horizon = time.monotonic() - lag
        for written, value, content_type in reversed(self.records.get(key, [])):
            if written <= horizon:
                return None if value is None else (value, content_type)
        return None

    def sizes(self, lag: float = 0.0) -> dict[str, int]:
        """Sizes of all records by key, in the order of the keys."""
        found = ((key, self.record(key, lag)) for key in sorted(self.records))
        return {key: len(record[0]) for key, record in found if record is not None}

    def visible_items(self, lag: float = 0.0) -> list[dict[str, Any]]:
        """The dataset's items as a reader sees them that is `lag` seconds behind."""
        horizon = time.monotonic() - lag
        return [item for written, item in self.items if written <= horizon]

    def charge(self, event: str, count: int, key: str) -> None:
        """Count a charge once for each idempotency key that is still remembered."""
        now = time.monotonic()
        if now - self.charge_keys.get(key, -CHARGE_KEY_LIFETIME) < CHARGE_KEY_LIFETIME:
            return
        self.charge_keys[key] = now
        self.charge_calls.append((event, count, key))
        self.charged[event] += count


class Meter:
    """Counts calls and refuses those above a resource's rate."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.refused: Counter[str] = Counter()
        self._recent: dict[str, deque[float]] = {kind: deque() for kind in RATE_LIMITS}

    def admit(self, kind: str, call: Call) -> bool:
        """Note the call; False when its kind is above the limit of the last second."""
        self.calls.append(call)
        recent = self._recent[kind]
        while recent and recent[0] <= call.at - 1.0:
            recent.popleft()
        if len(recent) >= RATE_LIMITS[kind]:
            self.refused[kind] += 1
            return False
        recent.append(call.at)
        return True

    def busiest_second(self, name: str) -> int:
        """The most calls of this name within any one second."""
        times = [call.at for call in self.calls if call.name == name]
        best = start = 0
        for end, at in enumerate(times):
            while times[start] <= at - 1.0:
                start += 1
            best = max(best, end - start + 1)
        return best

    def largest(self, name: str) -> int:
        """The largest body in bytes among the calls of this name."""
        return max((call.size for call in self.calls if call.name == name), default=0)

    def count(self, name: str) -> int:
        """How many calls of this name arrived."""
        return sum(call.name == name for call in self.calls)
