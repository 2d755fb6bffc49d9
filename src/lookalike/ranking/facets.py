"""What the listings of an answer's pool state, counted: what a page offers to narrow the answer down by.

Enters: the pool, the nearest listings that pass the filters, each once however many of its photos are near. It does not
depend on k or offset. Leaves: how many of them are in each category and state each value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from lookalike.ranking.filters import LABELS, NUMBERS

_VALUES = 100
"""The most values of an aspect or a column that are named: the commonest."""


class Stating(Protocol):
    """What is counted of a listing (`listings.IndexedListing`)."""

    @property
    def category(self) -> str: ...

    @property
    def aspects(self) -> Mapping[str, Iterable[str]]: ...

    @property
    def columns(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Facets:
    """Counts of listings, commonest first, ties by name."""

    listings: int
    """How many there are in the pool."""
    categories: Mapping[str, int]
    aspects: Mapping[str, Mapping[str, int]]
    labels: Mapping[str, Mapping[str, int]]
    """Of each column of few values."""
    ranges: Mapping[str, tuple[float, float] | None]
    """Of each column of numbers the lowest and the highest; None where no listing has one."""

    @classmethod
    def of(cls, listings: Iterable[Stating]) -> Facets:
        """Count `listings`, which have all their aspects."""
        categories: Counter[str] = Counter()
        aspects: dict[str, Counter[str]] = {}
        labels: dict[str, Counter[str]] = {name: Counter() for name in LABELS}
        numbers: dict[str, list[float]] = {name: [] for name in NUMBERS}
        total = 0
        for listing in listings:
            total += 1
            categories[listing.category] += 1
            for name, values in listing.aspects.items():
                aspects.setdefault(name, Counter()).update(values)
            for name, counts in labels.items():
                if (label := listing.columns.get(name)) is not None:
                    counts[label] += 1
            for name, found in numbers.items():
                if (number := listing.columns.get(name)) is not None:
                    found.append(number)
        return cls(
            listings=total,
            categories=_commonest(categories),
            aspects={name: _commonest(aspects[name]) for name in sorted(aspects)},
            labels={name: _commonest(counts) for name, counts in labels.items()},
            ranges={name: (min(found), max(found)) if found else None for name, found in numbers.items()},
        )

    def to_json(self) -> dict[str, Any]:
        """As the search API has it."""
        ranges = {
            n: None if pair is None else {"from": pair[0], "to": pair[1]} for n, pair in self.ranges.items()
        }
        return {
            "listings": self.listings,
            "categories": dict(self.categories),
            "aspects": {name: dict(counts) for name, counts in self.aspects.items()},
            **{name: dict(counts) for name, counts in self.labels.items()},
            **ranges,
        }


def _commonest(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_VALUES])
