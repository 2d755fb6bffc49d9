"""What the listings of an answer's pool state, counted: what a page offers to narrow the answer down by.

Enters: the pool, the nearest listings that pass the filters, each once however many of its photos are near. It does not
depend on k or offset. Leaves: how many of them are in each category and state each value.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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

    @property
    def extra(self) -> Mapping[str, str | float]: ...


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

    extra: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The same of the shop's own numbers that some listing states."""

    @classmethod
    def of(cls, listings: Iterable[Stating]) -> Facets:
        """Count `listings`, which have all their aspects."""
        categories: Counter[str] = Counter()
        aspects: dict[str, Counter[str]] = {}
        labels: dict[str, Counter[str]] = {name: Counter() for name in LABELS}
        numbers: dict[str, list[float]] = {name: [] for name in NUMBERS}
        own: dict[str, list[float]] = {}
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
            for name, said in listing.extra.items():
                if isinstance(said, float):
                    own.setdefault(name, []).append(said)
        return cls(
            listings=total,
            categories=_commonest(categories),
            aspects={name: _commonest(aspects[name]) for name in sorted(aspects)},
            labels={name: _commonest(counts) for name, counts in labels.items()},
            ranges={name: (min(found), max(found)) if found else None for name, found in numbers.items()},
            extra={name: (min(found), max(found)) for name, found in sorted(own.items())},
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
            "extra": {name: {"from": low, "to": high} for name, (low, high) in self.extra.items()},
        }


def _commonest(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_VALUES])
