"""What may be sent next: fair between receivers, so that one that hangs never delays another.

Every receiver (an origin and a path) has a lane of its own, first in, first out. Lanes take turns; each lane,
each origin and the whole have a limit of how many may be under way at once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

_V = TypeVar("_V")


class Receiver(NamedTuple):
    """Where a delivery goes, as far as fairness is concerned.

    Attributes:
        origin: Scheme, host and port.
        path: The path, without the query.
    """

    origin: str
    path: str


class Limits(NamedTuple):
    """How many deliveries may be under way at once."""

    total: int = 256
    origin: int = 64
    receiver: int = 8


@dataclass(slots=True)
class _Lane:
    waiting: deque[str] = field(default_factory=deque)
    under_way: int = 0


@dataclass(slots=True)
class _Origin:
    lanes: dict[str, _Lane] = field(default_factory=dict)
    ready: OrderedDict[str, _Lane] = field(default_factory=OrderedDict)
    under_way: int = 0


class Lanes:
    """Waiting items by receiver; each operation takes constant time.

    Args:
        limits: How many may be under way at once.
    """

    def __init__(self, limits: Limits = Limits()) -> None:  # noqa: B008 - immutable
        self._limits = limits
        self._origins: dict[str, _Origin] = {}
        self._ready: OrderedDict[str, _Origin] = OrderedDict()
        self._under_way = 0

    def put(self, receiver: Receiver, item: str) -> None:
        """Let an item wait behind the others of its receiver."""
        origin = self._origins.setdefault(receiver.origin, _Origin())
        origin.lanes.setdefault(receiver.path, _Lane()).waiting.append(item)
        self._refresh(receiver)

    def take(self) -> tuple[Receiver, str] | None:
        """The next item, now under way until `done`; None while nothing may start."""
        if self._under_way >= self._limits.total or not self._ready:
            return None
        name, origin = next(iter(self._ready.items()))
        path, lane = next(iter(origin.ready.items()))
        self._count(origin, lane, 1)
        self._ready.move_to_end(name)
        origin.ready.move_to_end(path)
        item = lane.waiting.popleft()
        receiver = Receiver(name, path)
        self._refresh(receiver)
        return receiver, item

    def done(self, receiver: Receiver) -> None:
        """An item of this receiver is no longer under way."""
        origin = self._origins[receiver.origin]
        self._count(origin, origin.lanes[receiver.path], -1)
        self._refresh(receiver)

    @property
    def under_way(self) -> int:
        """How many items were taken and are not done."""
        return self._under_way

    def _count(self, origin: _Origin, lane: _Lane, by: int) -> None:
        lane.under_way += by
        origin.under_way += by
        self._under_way += by

    def _refresh(self, receiver: Receiver) -> None:
        origin = self._origins[receiver.origin]
        lane = origin.lanes[receiver.path]
        _keep(origin.ready, receiver.path, lane, lane.waiting and lane.under_way < self._limits.receiver)
        _keep(self._ready, receiver.origin, origin, origin.ready and origin.under_way < self._limits.origin)
        if not lane.waiting and not lane.under_way:
            del origin.lanes[receiver.path]
        if not origin.lanes:
            del self._origins[receiver.origin]


def _keep(turns: OrderedDict[str, _V], name: str, value: _V, ready: object) -> None:
    """Have it in the round exactly while it is ready; who joins is last."""
    if not ready:
        turns.pop(name, None)
    elif name not in turns:
        turns[name] = value
