"""What a listing must be to be scanned at all: a plain value, the same on one process and on rankers.

Filters are applied to rows before the scan, so an answer is the exact nearest of what passes, however little passes.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from lookalike.columns import COLUMNS
from lookalike.errors import QueryError

LABELS = tuple(column.name for column in COLUMNS if column.stored == "label")
"""The columns that filters compare with texts: those of few values, such as the seller."""
NUMBERS = tuple(column.name for column in COLUMNS if column.stored == "number")
"""The columns that hold a number."""
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}([.,][0-9]{1,15})?")
Choices = tuple[tuple[str, tuple[str, ...]], ...]
"""(name, values) of some columns or aspects."""
Range = tuple[str, float | None, float | None]
"""Name of a column or an aspect, and its lowest and highest number, both included; None: no bound."""


@dataclass(frozen=True, slots=True)
class Filters:
    """What a listing must be. Empty: anything."""

    aspects: Choices = ()
    """The listing states at least one of the values, for every aspect named."""
    price_from: float | None = None
    price_to: float | None = None
    """Both ends included. A listing without a price passes no price filter."""
    aspects_not: Choices = ()
    """It states none of these values. One that states nothing passes."""
    labels: Choices = ()
    """It has one of the values, in every column named, which is one of `LABELS`."""
    labels_not: Choices = ()
    """It has none of these values. One that states nothing passes."""
    ranges: tuple[Range, ...] = ()
    """A number of it lies within, both ends included: of a column of numbers, or else of an aspect's values that are
    numbers. One without a number passes no range."""

    def __post_init__(self) -> None:
        if any(p is not None and not (math.isfinite(p) and p >= 0) for p in (self.price_from, self.price_to)):
            raise QueryError("a price must be a number of at least 0")
        for name, low, high in (("price", self.price_from, self.price_to), *self.ranges):
            if any(bound is not None and not math.isfinite(bound) for bound in (low, high)):
                raise QueryError(f"{name[:40]}: a range is one of finite numbers")
            if low is not None and high is not None and low > high:
                raise QueryError(f"the {name[:40]} range {low:g} to {high:g} is empty")
        if any(
            not values for _, values in (*self.aspects, *self.aspects_not, *self.labels, *self.labels_not)
        ):
            raise QueryError("a filter must name at least one value")
        for name, _ in (*self.labels, *self.labels_not):
            if name not in LABELS:
                raise QueryError(f"{name[:40]!r} is no column to filter by; there are {', '.join(LABELS)}")

    def __bool__(self) -> bool:
        return self != ANYTHING


ANYTHING = Filters()


def number_of(value: str) -> float:
    """A value of an aspect as a number: ``41``, ``0.5``, ``12,5``; NaN where it is none."""
    text = value.strip()
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else math.nan
