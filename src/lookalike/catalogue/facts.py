"""Facts: what curation judges listings by, as columns in the order of the catalogue.

Texts that few listings differ in become numbers, so that a listing costs some tens of bytes and no object, and whatever
is compared, counted or grouped is arithmetic. What is only passed on (titles, prices, addresses) stays on disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.coded import Coded
from lookalike.catalogue.listings import Catalogue, Listed, Losses
from lookalike.catalogue.shelf import Places, Shelf
from lookalike.catalogue.spool import Spool, between

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Facts:
    """Of all listings of a catalogue."""

    listing_ids: Coded
    """All differ, so that a number is the place in the order of ids."""
    order: Places
    """Places of listings, in the order of their ids."""
    category: Coded
    split: Coded
    product: Coded
    seller: Coded

    @classmethod
    def of(cls, listings: Listed, shelf: Shelf | None = None) -> Self:
        shelf = shelf or Shelf()
        names = ("listing_id", "category", "split", "product", "seller")
        ids, *coded = (
            Coded.of((batch.column(0) for batch in listings.spool.batches([name])), shelf) for name in names
        )
        order = np.empty(len(ids), np.int32)
        order[ids.codes] = np.arange(len(ids), dtype=np.int32)
        return cls(ids, shelf.keep(order), *coded)

    def by_id(self, rows: NDArray[np.integer]) -> Places:
        """`rows` in the order of their ids."""
        asked = np.zeros(len(self.order), bool)
        asked[rows] = True
        return self.order[asked[self.order]]

    def ids(self, rows: NDArray[np.integer]) -> pa.StringArray:
        """Of these listings."""
        return self.listing_ids.values.take(pa.array(self.listing_ids.codes[rows]))

    def ids_in_blocks(self, rows: NDArray[np.integer]) -> Iterator[pa.StringArray]:
        """The same, some at a time."""
        for at in range(0, len(rows), _BLOCK):
            yield self.ids(rows[at : at + _BLOCK])


def losses(
    spool: Spool, rows: NDArray[np.integer], reasons: pa.StringArray, details: pa.StringArray, *, whole: bool
) -> Losses:
    """Listings (`whole`), or a photo of each, that are left out; `rows` are their places in the catalogue, in order."""
    found, before = [], 0
    for batch in spool.batches(["line", "listing_id", "rows"]) if len(rows) else ():
        at = between(rows, before, before + batch.num_rows)
        if at.start < at.stop:
            own = batch.take(pa.array(rows[at] - before))
            count = own["rows"].cast(pa.int64()) if whole else pa.array(np.ones(own.num_rows, np.int64))
            columns = [own["line"], own["listing_id"], reasons[at], details[at], count]
            found.append(pa.table(columns, schema=Losses.SCHEMA))
        before += batch.num_rows
    return Losses.together(found)


def same_reason(
    catalogue: Catalogue, rows: NDArray[np.integer], reason: str, details: pa.StringArray | str
) -> Losses:
    """Listings that are left out for one reason."""
    if isinstance(details, str):
        details = pa.repeat(details, len(rows))
    spool = catalogue.listings.spool
    return losses(spool, rows, pa.repeat(reason, len(rows)), details, whole=True)
