"""What of a curated snapshot becomes searchable: listings and the photos of each, as two tables.

Enters: the snapshot's tables. Leaves: a `Searchable`, by which an index is built, and compared with an earlier one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.columns import stored_among
from lookalike.errors import SettingsError
from lookalike.index.segment import ASPECT, MAX_ROWS
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

LISTINGS, LISTING_PHOTOS = "listings.parquet", "listing_photos.parquet"
PHOTOS = pa.schema([("listing_id", pa.utf8()), ("ordinal", pa.int32()), ("photo_id", pa.utf8())])

Photos = Literal["all", "main"] | int
"""Which photos of a listing become searchable: all, the main one, or so many from the main one on."""


@dataclass(frozen=True, slots=True, eq=False)
class Searchable:
    """Listings and their photos."""

    listings: pa.Table
    """One row each, by listing id: id, category, group, those of `columns.stored_among` it, aspects by name."""
    photos: pa.Table
    """`PHOTOS`, by listing id and ordinal; each listing has some."""

    @classmethod
    def of(cls, listings: pa.Table, photos: pa.Table) -> Searchable:
        """Those listings that have some of these photos, and those photos that are of one of these listings."""
        number = one_array(pc.index_in(photos["listing_id"], one_array(listings["listing_id"])))
        kept = photos.filter(number.is_valid())
        known = number.drop_null().to_numpy().astype(np.int64)
        has = np.zeros(listings.num_rows, np.bool_)
        has[known] = True
        order = np.lexsort((one_array(kept["ordinal"]).to_numpy(), known))
        if (order != np.arange(len(order))).any():
            kept = kept.take(pa.array(order))
        if not has.all():
            listings = listings.filter(pa.array(has))
        return cls(listings.combine_chunks(), kept.combine_chunks())

    def __len__(self) -> int:
        return int(self.photos.num_rows)

    def listing_of_each(self) -> npt.NDArray[np.int64]:
        """int64[photos], ascending: which listing each photo is of."""
        found: npt.NDArray[np.int64] = one_array(
            pc.index_in(self.photos["listing_id"], one_array(self.listings["listing_id"]))
        ).to_numpy()
        return found.astype(np.int64)

    def counts(self) -> dict[str, Any]:
        """What the manifest of an index counts: rows, listings by category, distinct photos, listings with a price."""
        counted = pc.value_counts(one_array(self.listings["category"])).to_pylist()
        priced = "price" in self.listings.column_names
        return {
            "rows": len(self),
            "categories": {x["values"]: x["counts"] for x in sorted(counted, key=lambda x: str(x["values"]))},
            "photos": pc.count_distinct(self.photos["photo_id"]).as_py(),
            "priced": self.listings.num_rows - self.listings["price"].null_count if priced else 0,
        }


def read_searchable(
    store: ObjectStore, curated: Ref, splits: Collection[str] | None, photos: Photos, cache_dir: Path
) -> Searchable:
    """The listings of those splits (None: all) with those of their photos; only the two tables are fetched."""
    held = {entry.name for entry in read_manifest(store, curated).files}
    snapshot = fetch(store, curated, cache_dir, sorted({LISTINGS, LISTING_PHOTOS} & held))
    path = snapshot.path(LISTINGS)
    names = pq.read_schema(path).names
    columns = ["listing_id", "photo_id", "category", "group", *(c.name for c in stored_among(names))]
    columns += sorted(name for name in names if name.startswith(ASPECT))
    filters = None if splits is None else pc.field("split").isin(pa.array(sorted(splits), pa.utf8()))
    listings = pq.read_table(path, columns=columns, filters=filters)
    ids = listings["listing_id"]
    if listings.num_rows > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        listings = listings.sort_by("listing_id")
    if LISTING_PHOTOS in held:
        of_listings = pq.read_table(
            snapshot.path(LISTING_PHOTOS), filters=pc.field("ordinal") < most_photos(photos)
        )
    else:  # of version 0.1: each listing has the one photo
        main = pa.array(np.zeros(listings.num_rows, np.int32))
        of_listings = pa.table([listings["listing_id"], main, listings["photo_id"]], schema=PHOTOS)
    return Searchable.of(listings.drop_columns(["photo_id"]), of_listings.select(PHOTOS.names))


def read_splits(store: ObjectStore, curated: Ref, cache_dir: Path) -> pa.Table:
    """The split of every listing: columns listing_id and split."""
    path = fetch(store, curated, cache_dir, [LISTINGS]).path(LISTINGS)
    return pq.read_table(path, columns=["listing_id", "split"])


def most_photos(photos: Photos) -> int:
    """How many photos of a listing may become searchable. Raises `SettingsError`."""
    most = {"all": MAX_ROWS, "main": 1}.get(photos, 0) if isinstance(photos, str) else photos
    if most < 1:
        raise SettingsError(f"photos is all, main or how many of a listing, at least 1, not {photos!r}")
    return most


def stated_photos(config: Mapping[str, Any]) -> Photos:
    """Which photos an index has, by the configuration that its manifest states. Those of format 1 have the main one."""
    photos: Photos = config.get("photos", "main")
    return photos


def one_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One contiguous array."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
