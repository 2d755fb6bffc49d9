"""The gallery of an evaluation: the listings of an index by their first photos, and what the catalogue states of them.

Enters: an index, the curated snapshot and the codes that it was built from, and who will be asked. Leaves: columns
sorted by listing id, some 0.1 kB a listing. Codes are not copied, but read from the index where it is mapped, some
thousand at a time; features are held normalised, where they are not too many.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.snapshot import LISTINGS
from lookalike.coding import codes
from lookalike.coding.shards import read_features
from lookalike.index.layers import AnyIndex
from lookalike.quality.labels import NOBODY, Labels, read_labels
from lookalike.quality.queries import Queries
from lookalike.ranking.request import Answer
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

_FEATURE_VALUES = 250_000_000
"""Above so many values (1 GB in float32) the gallery's features are not read, and the ranking by them is left out."""
_CODES_AT_ONCE = 16_384
_PAIRS_AT_ONCE = 10_000_000
"""Pairs whose ranking is held at a time: 0.5 GB."""


@dataclass(frozen=True, slots=True)
class Coded:
    """Codes of some listings of the gallery: u8[n, bits / 8], those of `rows` alone, which are listings `places`."""

    codes: NDArray[np.uint8]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Gallery:
    """What is searched, as columns sorted by listing id."""

    listing_ids: NDArray[np.str_]
    category_names: Sequence[str]
    categories: NDArray[np.int32]
    """Numbers of `category_names`."""
    labels: Labels
    itself: NDArray[np.int64]
    """Of each query the row that is its own listing; `NOBODY` where there is none."""
    copies: Sequence[NDArray[np.int64]]
    """Of each query the rows whose first photo it is."""
    coded: Sequence[Coded] = ()
    features: NDArray[np.float32] | None = None
    """Of length 1; None where there are too many."""

    def __len__(self) -> int:
        return len(self.listing_ids)

    def own(self, query: int) -> NDArray[np.int64]:
        """The rows that a query must not be credited for: its own listing, and those whose photo it is."""
        rows: NDArray[np.int64] = np.append(self.copies[query], self.itself[query])
        own: NDArray[np.int64] = rows[rows != NOBODY]
        return own

    def rows(self, answer: Answer) -> NDArray[np.int64]:
        """The hits of an answer as rows."""
        return _places(self.listing_ids, [hit.listing_id for hit in answer.hits])

    def others(self, rows: NDArray[np.int64], query: int, product: str | None) -> NDArray[np.int64]:
        """Those of `rows` that are neither of the query's product nor the query itself."""
        own = np.isin(rows, self.own(query)) | self.labels.of_product(product or "", rows)
        others: NDArray[np.int64] = rows[~own]
        return others

    def relevant(self, queries: Queries, asked: slice) -> dict[str, NDArray[np.bool_]]:
        """Which rows are of a query's leaf category, and of its product, bool[queries, n] by level.

        There is no level of products where either side has none.
        """
        numbers = {name: number for number, name in enumerate(self.category_names)}
        categories = np.array([numbers.get(str(name), NOBODY) for name in queries.categories[asked]])
        found = {"category": categories[:, None] == self.categories}
        if any(listing.product for listing in queries.listings) and self.labels.product_numbers:
            known = self.labels.product_numbers
            products = [known.get(each.product or "", NOBODY - 1) for each in queries.listings[asked]]
            found["product"] = np.array(products)[:, None] == self.labels.products
        return found

    def distances(self, asked: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Hamming distances i32[queries, n] of codes u8[queries, bits / 8] to those of the gallery."""
        found = np.empty((len(asked), len(self)), np.int32)
        for part in self.coded:
            for start in range(0, len(part.rows), _CODES_AT_ONCE):
                some = slice(start, start + _CODES_AT_ONCE)
                near = part.codes[part.rows[some]]
                for query, code in enumerate(asked):
                    found[query, part.places[some]] = codes.hamming(code, near)
        return found

    def blocks(self) -> Iterator[slice]:
        """The queries, so many at once that what is held of their pairs with all listings stays bounded."""
        step = max(1, _PAIRS_AT_ONCE // max(1, len(self)))
        return (slice(start, start + step) for start in range(0, len(self.copies), step))

    def own_pairs(self, queries: slice) -> NDArray[np.bool_]:
        """`own` as bool[queries, n]."""
        asked = range(len(self.copies))[queries]
        mine = np.zeros((len(asked), len(self)), bool)
        for at, query in enumerate(asked):
            mine[at, self.own(query)] = True
        return mine


def read_gallery(
    store: ObjectStore, index: Ref, snapshot: AnyIndex, queries: Queries, cache_dir: Path
) -> Gallery:
    """The listings of the index by their first photo, with labels from the curated snapshot and features from the code
    shards. Raises `CorruptObject`."""
    inputs = read_manifest(store, index).inputs
    parts = [part for category in snapshot.categories for part in snapshot.partitions(category)]
    first = [np.arange(len(p)) if p.firsts is None else p.firsts for p in parts]
    first = [rows[p.alive_mask()[rows]] for p, rows in zip(parts, first, strict=True)]
    taken = [pa.array(rows) for rows in first]
    ids = np.concatenate([_texts(p.listing_ids.take(rows)) for p, rows in zip(parts, taken, strict=True)])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    photo_ids = pa.concat_arrays([p.photo_ids.take(rows) for p, rows in zip(parts, taken, strict=True)])
    photo_ids = photo_ids.take(pa.array(order))
    numbers = {name: number for number, name in enumerate(snapshot.categories)}
    sizes = [len(rows) for rows in first]
    categories = np.repeat(np.array([numbers[p.category] for p in parts], np.int32), sizes)[order]
    asked = [listing.listing_id for listing in queries.listings]
    itself = _places(ids, asked)
    itself = np.where(ids[np.minimum(itself, len(ids) - 1)] == np.array(asked), itself, NOBODY)
    curated = fetch(store, Ref.parse(inputs["curated"]), cache_dir, [LISTINGS])
    places = np.split(np.argsort(order), np.cumsum(sizes)[:-1])
    extraction = Ref.parse(inputs["extraction"])
    features = None
    if len(ids) * int(read_manifest(store, extraction).meta["features"]) <= _FEATURE_VALUES:
        features = read_features(store, extraction, photo_ids, cache_dir)
        features /= lengths(features)
    return Gallery(
        ids,
        tuple(snapshot.categories),
        categories,
        read_labels(curated.path(LISTINGS), ids),
        itself,
        _copies(queries, photo_ids),
        [Coded(p.codes, rows, at) for p, rows, at in zip(parts, first, places, strict=True)],
        features,
    )


def lengths(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """Lengths f32[n, 1] of features [n, width], by which to divide them."""
    squares = np.einsum("ij,ij->i", features, features, dtype=np.float32)
    found: NDArray[np.float32] = np.maximum(np.sqrt(squares), 1e-12)[:, None]
    return found


def _texts(column: pa.StringArray) -> NDArray[np.str_]:
    return np.asarray(column.to_pylist(), dtype=np.str_)


def _places(ids: NDArray[np.str_], asked: Sequence[str]) -> NDArray[np.int64]:
    """Where each of `asked` stands, or would stand, in sorted `ids`."""
    places: NDArray[np.int64] = np.searchsorted(ids, np.array(asked, np.str_))
    return places


def _copies(queries: Queries, photo_ids: pa.StringArray) -> list[NDArray[np.int64]]:
    """Of each query the rows that show its photo."""
    asked, of = np.unique(queries.photo_ids, return_inverse=True)
    found = pc.index_in(photo_ids, value_set=pa.array(asked, pa.utf8()))
    rows = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))
    number = found.take(pa.array(rows)).to_numpy()
    return [rows[number == one] for one in of]
