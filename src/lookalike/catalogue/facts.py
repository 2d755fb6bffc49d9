"""Facts: what curation judges listings by, as columns in the order of the catalogue.

Texts that few listings differ in become numbers, so that a listing costs some tens of bytes and no object, and whatever
is compared, counted or grouped is arithmetic. What is only passed on (titles, prices, addresses) stays on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.listings import Catalogue, Listed, Losses
from lookalike.catalogue.spool import Spool


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of text as numbers."""

    codes: NDArray[np.int32]
    """Place of each text in `values`; -1 where it is empty."""
    values: pa.StringArray
    """Each text once, in order."""

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Self:
        coded = column.dictionary_encode()
        parts = [chunk.indices.to_numpy() for chunk in coded.chunks]
        values = coded.chunk(0).dictionary if parts else pa.array([], pa.string())
        order = pc.sort_indices(values).to_numpy()
        values = values.take(pa.array(order))
        empty = int(len(values) > 0 and values[0].as_py() == "")
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32) - empty
        return cls(np.concatenate([np.zeros(0, np.int32), *(place[part] for part in parts)]), values[empty:])

    def take(self, rows: NDArray[np.int64]) -> Coded:
        """Of these rows; `values` stay."""
        return Coded(self.codes[rows], self.values)

    def texts(self) -> pa.StringArray:
        """The column, null where it is empty."""
        return self.values.take(pa.array(self.codes, mask=self.codes < 0))

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class Facts:
    """Of all listings of a catalogue."""

    listing_ids: pa.ChunkedArray
    order: NDArray[np.int64]
    """Places of listings, in the order of their ids."""
    category: Coded
    split: Coded
    product: Coded
    seller: Coded

    @classmethod
    def of(cls, listings: Listed) -> Self:
        spool = listings.spool
        coded = [Coded.of(spool.column(name)) for name in ("category", "split", "product", "seller")]
        listing_ids = spool.column("listing_id")
        return cls(listing_ids, pc.sort_indices(listing_ids).to_numpy().astype(np.int64), *coded)

    def by_id(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """`rows` in the order of their ids."""
        asked = np.zeros(len(self.order), bool)
        asked[rows] = True
        return self.order[asked[self.order]]


def losses(
    spool: Spool, rows: NDArray[np.int64], reasons: pa.StringArray, details: pa.StringArray, *, whole: bool
) -> Losses:
    """Listings (`whole`), or a photo of each, that are left out; `rows` are their places in the catalogue, in order."""
    found, before = [], 0
    for batch in spool.batches(["line", "listing_id", "rows"]) if len(rows) else ():
        low, high = np.searchsorted(rows, [before, before + batch.num_rows])
        if low < high:
            own = batch.take(pa.array(rows[low:high] - before))
            count = own["rows"].cast(pa.int64()) if whole else pa.array(np.ones(high - low, np.int64))
            columns = [own["line"], own["listing_id"], reasons[low:high], details[low:high], count]
            found.append(pa.table(columns, schema=Losses.SCHEMA))
        before += batch.num_rows
    return Losses.together(found)


def same_reason(
    catalogue: Catalogue, rows: NDArray[np.int64], reason: str, details: pa.StringArray | str
) -> Losses:
    """Listings that are left out for one reason."""
    if isinstance(details, str):
        details = pa.repeat(details, len(rows))
    spool = catalogue.listings.spool
    return losses(spool, rows, pa.repeat(reason, len(rows)), details, whole=True)
