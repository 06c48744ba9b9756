"""What the user of the run still pays for."""

from __future__ import annotations

from decimal import Decimal


class Budget:
    """How many jobs the user still pays for.

    Args:
        limit: The most the run may cost, in US dollars; may be infinite.
        price: Of one completed job, with everything that the platform charges along with it.
        spent: What the run had cost before this start.
    """

    def __init__(self, limit: Decimal, price: Decimal, spent: Decimal) -> None:
        left = (limit - spent) / price if price else Decimal("Infinity")
        self._left = max(0, int(left)) if left.is_finite() else None

    def take(self, count: int) -> int:
        """Use up to `count` jobs of the budget; returns how many."""
        if self._left is None:
            return count
        taken = min(count, self._left)
        self._left -= taken
        return taken

    def covers(self, jobs: int) -> bool:
        """Whether so many jobs can be paid for."""
        return self._left is None or jobs <= self._left
