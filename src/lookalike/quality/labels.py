"""What a gallery's listings are, as the catalogue states it: what the hits of an evaluation are judged by.

Enters: the table of the curated snapshot that an index was built from. Leaves: products, groups, aspects and who was
learned from, as numbers. Held per listing: 8 bytes, and 4 for each value that it states and 8 for each aspect that the
catalogue has; nothing per query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.catalogue.snapshot import ASPECT_PREFIX
from lookalike.catalogue.splits import TRAIN

COLOUR_NAMES = ("colour", "color")
NOBODY = -1
"""The number of a name that no listing has."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What listings state of one aspect: row r has the values `numbers[starts[r] : starts[r + 1]]`."""

    vocabulary: Mapping[str, int]
    numbers: NDArray[np.int32]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, values: pa.ListArray) -> Self:
        """`values` is list<string>; null and empty lists state nothing."""
        lengths = pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False)
        coded = pc.list_flatten(values).dictionary_encode()
        vocabulary = {str(name): number for number, name in enumerate(coded.dictionary.to_pylist())}
        starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        return cls(vocabulary, coded.indices.to_numpy().astype(np.int32), starts)

    def main(self) -> Stated:
        """The same with each listing's first value alone."""
        some = np.diff(self.starts) > 0
        starts = np.concatenate([[0], np.cumsum(some, dtype=np.int64)])
        return Stated(self.vocabulary, self.numbers[self.starts[:-1][some]], starts)

    def by(self, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of `rows` state anything."""
        stated: NDArray[np.bool_] = self.starts[rows + 1] > self.starts[rows]
        return stated

    def any_of(self, values: Iterable[str], rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of `rows` state one of `values`."""
        wanted = [self.vocabulary[value] for value in values if value in self.vocabulary]
        until = np.concatenate([[0], np.cumsum(self.starts[rows + 1] - self.starts[rows])])
        places = np.arange(until[-1]) + np.repeat(self.starts[rows] - until[:-1], np.diff(until))
        found = np.concatenate([[0], np.cumsum(np.isin(self.numbers[places], wanted))])
        agree: NDArray[np.bool_] = found[until[1:]] > found[until[:-1]]
        return agree

    def commonest(self) -> str:
        """The value that most listings state, the first in the alphabet of equals; empty where none is stated."""
        counts = np.bincount(self.numbers, minlength=len(self.vocabulary))
        return min(self.vocabulary, key=lambda value: (-counts[self.vocabulary[value]], value), default="")


@dataclass(frozen=True, slots=True)
class Labels:
    """What is known of the listings of a gallery; rows run beside its other columns."""

    product_numbers: Mapping[str, int]
    products: NDArray[np.int32]
    """`NOBODY` where the catalogue names no product."""
    group_numbers: Mapping[str, int]
    groups: NDArray[np.int32]
    """Of what the search shows once: a product, or a photo that several listings share."""
    learned: frozenset[str]
    """Products of which a listing is in the training split."""
    aspects: Mapping[str, Stated]

    def of_product(self, product: str, rows: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Which of `rows` show `product`: by its name, or as a copy of its photo that names none."""
        if not product:
            return np.zeros(len(rows), bool)
        named = self.products[rows] == self.product_numbers.get(product, NOBODY - 1)
        copied = (self.products[rows] == NOBODY) & (
            self.groups[rows] == self.group_numbers.get(product, NOBODY - 1)
        )
        shown: NDArray[np.bool_] = named | copied
        return shown

    def judged(self) -> dict[str, tuple[str, Stated]]:
        """What hits are compared in: the aspects, and of the colours the main one, too; each with its aspect."""
        found = {name: (name, stated) for name, stated in self.aspects.items()}
        found |= {f"main {name}": (name, self.aspects[name].main()) for name in self.colours()}
        return dict(sorted(found.items(), key=lambda item: (item[1][0], item[0])))

    def colours(self) -> list[str]:
        """The aspects that are a colour."""
        return [name for name in self.aspects if name.casefold() in COLOUR_NAMES]


def read_labels(listings: Path, ids: NDArray[np.str_]) -> Labels:
    """The labels of `ids`, in their order, from a curated snapshot's table of listings."""
    schema = pq.read_schema(listings)
    aspects = [name for name in schema.names if name.startswith(ASPECT_PREFIX)]
    table = pq.read_table(listings, columns=["listing_id", "product", "group", "split", *aspects])
    trained = table.filter(pc.equal(table["split"], TRAIN))["product"].unique().to_pylist()
    rows = table.take(pc.index_in(pa.array(ids, pa.utf8()), table["listing_id"].combine_chunks()))
    product_numbers, products = _numbered(rows["product"])
    group_numbers, groups = _numbered(rows["group"])
    return Labels(
        product_numbers,
        products,
        group_numbers,
        groups,
        frozenset(name for name in trained if name),
        {name.removeprefix(ASPECT_PREFIX): Stated.of(rows[name].combine_chunks()) for name in aspects},
    )


def _numbered(column: pa.ChunkedArray) -> tuple[dict[str, int], NDArray[np.int32]]:
    coded = column.combine_chunks().dictionary_encode()
    numbers = {str(name): number for number, name in enumerate(coded.dictionary.to_pylist()) if name}
    nobody = pa.scalar(NOBODY, pa.int32())
    found = pc.fill_null(coded.indices, nobody).to_numpy(zero_copy_only=False).astype(np.int32)
    nameless = [number for number, name in enumerate(coded.dictionary.to_pylist()) if not name]
    return numbers, np.where(np.isin(found, nameless), np.int32(NOBODY), found)
