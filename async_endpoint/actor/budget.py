"""What the user of the run still pays for."""

from __future__ import annotations

from decimal import Decimal


class Budget:
    """How many jobs the user still pays for. All prices are in US dollars.

    Args:
        limit: The most the run may cost; may be infinite.
        spent: What the run had cost before this start.
        event: The price of one completed job.
        row: What the platform charges by itself for each row of the dataset.
    """

    def __init__(self, limit: Decimal, spent: Decimal, *, event: Decimal, row: Decimal = Decimal(0)) -> None:
        self._left = limit - spent
        self._event = event
        self._row = row

    def take(self, count: int) -> int:
        """Use up to `count` completed jobs of the budget; returns how many."""
        taken = count if self.covers(count) else self._room()
        self._left -= taken * (self._event + self._row)
        return taken

    def take_rows(self, count: int) -> None:
        """Use as much as the rows of jobs cost that have ended and are not charged for."""
        self._left -= count * self._row

    def covers(self, jobs: int) -> bool:
        """Whether so many jobs can be paid for, if they complete."""
        return jobs * (self._event + self._row) <= max(self._left, Decimal(0))

    def _room(self) -> int:
        return int(max(self._left, Decimal(0)) / (self._event + self._row))
