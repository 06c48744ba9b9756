"""What was measured, held against its floor, as a table."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Floor:
    """A bound that a figure must keep: at least it, or at most it."""

    bound: float
    at_most: bool = False

    def kept_by(self, value: float) -> bool:
        """Whether the value is on the good side."""
        return value <= self.bound if self.at_most else value >= self.bound

    def __str__(self) -> str:
        return f"{'≤' if self.at_most else '≥'} {self.bound:,g}"


@dataclass(frozen=True)
class Figure:
    """The median of some values of one kind, in `unit`, with a plain-text detail beside it."""

    name: str
    values: Sequence[float]
    unit: str
    detail: str = ""
    floor: Floor | None = None

    @property
    def value(self) -> float:
        """The median."""
        return statistics.median(self.values)

    @property
    def missed(self) -> bool:
        """Whether there is a floor and the median does not keep it."""
        return self.floor is not None and not self.floor.kept_by(self.value)

    def cells(self) -> tuple[str, ...]:
        """The figure as a row of the table."""
        spread = f"{short(min(self.values))} .. {short(max(self.values))}" if len(self.values) > 1 else ""
        verdict = "" if self.floor is None else "MISSED" if self.missed else "pass"
        median = f"{short(self.value)} {self.unit}"
        return (self.name, median, spread, str(self.floor or ""), verdict, self.detail)


def short(value: float) -> str:
    """Three significant digits at least, thousands grouped."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


HEADINGS = ("figure", "median", "min .. max", "floor", "", "detail")
WIDTHS = (34, 16, 17, 9, 7, 0)


def table_row(cells: Sequence[str]) -> str:
    """One line of the table."""
    return " ".join(cell.ljust(width) for cell, width in zip(cells, WIDTHS, strict=True)).rstrip()


def heading() -> str:
    """The table's first line."""
    return table_row(HEADINGS)
