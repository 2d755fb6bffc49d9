"""What ranking asks of an index, and what it gets: the seam behind which an index is one process's or many.

Enters: encoded queries with the categories they open. Leaves: the candidates of each, nearest first. `Listings` has two
implementations, `ranking.local` (segments mapped into this process) and `sharding.remote` (segments that rankers hold).
Both give the same candidates in the same order with the same numbers, so everything above them gives the same hits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from lookalike.coding.release import ModelCard
from lookalike.columns import own_columns
from lookalike.errors import ReleaseError
from lookalike.index.likeness import Likeness
from lookalike.index.reader import Memory
from lookalike.ranking.filters import NUMBERS, Filters


@dataclass(frozen=True, slots=True)
class Wanted:
    """The `k` nearest listings of `categories` that pass `filters`, for one query."""

    code: np.ndarray
    """u8[bits // 8]"""
    categories: tuple[str, ...]
    filters: Filters
    k: int
    weights: np.ndarray | None = None
    """f32[bits]: how sure the query is that each bit is 1, where candidates are to be re-scored by it."""
    aspects: tuple[str, ...] = ()
    """Those aspects that candidates will be asked about."""
    own: tuple[str, ...] = ()
    """Those of the shop's own columns, `number_weight`, that they will be asked about."""
    others: tuple[tuple[np.ndarray, np.ndarray | None], ...] = ()
    """Further codes of the query, each with its weights: what counts of a listing is the nearest to any of them."""

    @property
    def codes(self) -> tuple[np.ndarray, ...]:
        """The code and the others, u8[bits // 8] each."""
        return (self.code, *(code for code, _ in self.others))

    @property
    def all_weights(self) -> tuple[np.ndarray, ...]:
        """The weights of each code, f32[bits]; none where candidates are not to be re-scored."""
        found = (self.weights, *(weights for _, weights in self.others))
        return tuple(weights for weights in found if weights is not None)


@dataclass(frozen=True, slots=True)
class IndexedListing:
    """What an index knows of one listing, and which of its photos is meant."""

    listing_id: str
    photo_id: str
    photo_ordinal: int
    """Which of its photos that is: 0 is the main one."""
    category: str
    group: str
    aspects: Mapping[str, tuple[str, ...]]
    """The aspects that were asked for and that it states."""
    columns: Mapping[str, Any]
    """What it states in each of `columns.SHOWN`; None where it states nothing."""
    extra: Mapping[str, str | float] = field(default_factory=dict)
    """What it states in the shop's own columns, as these are called; only what it does."""
    photos: tuple[str, ...] = ()
    """Ids of all its photos in the index, in their order, where it was looked up by `Listings.find`; else none."""

    @property
    def price(self) -> float | None:
        price: float | None = self.columns["price"]
        return price


class Candidates(Protocol):
    """The m nearest listings of one query, each by its nearest photo, nearest first, equal distances by listing id; or
    some of them, as taken."""

    near: np.ndarray | None
    """f64[m]: distances in the bits that likeness is measured by, once somebody has measured them; else None."""

    @property
    def distance(self) -> np.ndarray:
        """i32[m]: Hamming distance, in bits."""

    @property
    def missing(self) -> tuple[int, ...]:
        """Shards that nobody could be asked about: their listings are not among these."""

    def __len__(self) -> int: ...

    def take(self, places: Sequence[int]) -> Candidates:
        """The candidates at these places, in this order."""

    def listing_ids(self) -> list[str]: ...

    def groups(self) -> list[str]: ...

    def categories(self) -> list[str]:
        """The leaf category of each."""

    def prices(self) -> np.ndarray:
        """f64[m], NaN where a listing has none."""

    def numbers(self, name: str) -> np.ndarray:
        """f64[m]: what each states in a column of numbers, `price` or `number_weight`; NaN where it states none."""

    def expected_distances(self) -> np.ndarray:
        """f32[m]: the asymmetric distance by the query's `weights`."""

    def chances(self, aspect: str, probabilities: Mapping[str, float]) -> np.ndarray:
        """f64[m]: the summed `probabilities` of the values of `aspect` that each listing states."""

    def listings(self, aspects: Collection[str]) -> list[IndexedListing]:
        """All that is known of each candidate, with those of its `aspects` that are asked for."""


@dataclass(frozen=True, slots=True)
class Summary:
    """An index as a whole: what queries are checked against and what a page offers to filter by."""

    name: str
    """The index snapshot's reference, as text: the base where there are deltas."""
    release: str
    bits: int
    preset: Mapping[str, Any]
    rows: Mapping[str, int]
    """Listings of each leaf category that has any, in order."""
    stated: Mapping[str, frozenset[str]]
    """The aspects that the listings of each category state."""
    values: Mapping[str, Mapping[str, int]]
    """How many listings state each value of each aspect."""
    prices: tuple[float, float] | None
    """The lowest and the highest price."""
    examples: Mapping[str, tuple[str, str]]
    """For each category (listing id, photo id) of one of its listings."""
    delta: str = ""
    """The last delta's reference, as text; empty where there is none."""
    own: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    """The shop's own columns, `number_weight`: of numbers the lowest and the highest; None for texts."""
    likeness: Likeness | None = None
    """How far its own photos are from what looks most like them; None where the index does not say."""

    def __len__(self) -> int:
        return sum(self.rows.values())

    @property
    def sortable(self) -> Mapping[str, str]:
        """What a range or a sort may name, and the column that it is."""
        own = {column.called: column.name for column in own_columns(self.own) if column.stored == "number"}
        return {name: name for name in NUMBERS} | own


class Listings(Protocol):
    """All listings of one index snapshot. Safe to use from several threads."""

    @property
    def summary(self) -> Summary: ...

    def nearest(self, wanted: Sequence[Wanted]) -> list[Candidates]:
        """The candidates of every query, found together. Raises `ServiceBusy` where nobody can be asked."""

    def find(self, listing_id: str) -> tuple[IndexedListing, np.ndarray] | None:
        """A listing with all its aspects, and the codes u8[photos, bits // 8] of its photos, in their order; None where
        there is no such listing."""

    def memory(self) -> Memory:
        """How much of the snapshot's files this process holds."""


def check_fit(card: ModelCard, index: Summary) -> None:
    """Raises `ReleaseError` where codes of an index are not those of a release."""
    if index.bits != card.bits:
        raise ReleaseError(f"{index.name}: codes of {index.bits} bits; the model makes {card.bits}")
    wanted = {"name": card.preset.name, "resize": card.preset.resize, "crop": card.preset.crop}
    found = {name: index.preset.get(name) for name in wanted}
    if found != wanted:
        raise ReleaseError(
            f"{index.name} was built with the transform preset {found}, the model has {wanted}"
        )
