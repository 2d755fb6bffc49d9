"""What has changed between the state of a generation and a newer curated snapshot: the difference of two tables.

Enters: the curated snapshot and extraction that a generation stands for, and newer ones of the same model release.
Leaves: the rows that are new or other than before, and the rows that they replace or that are gone. Both tables of
listings are read whole (columns, no photo and no code); nothing else is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.coding.shards import coded_photos
from lookalike.index.searchable import Photos, Searchable, one_array, read_searchable, stated_photos
from lookalike.index.tombstones import to_table
from lookalike.storage.artefacts import Ref
from lookalike.storage.objects import ObjectStore

_PHOTOS = "photos/"
"""The column that says what photos a listing has; no column of a listing may be named so."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """From the state of a generation to a newer one."""

    rows: Searchable
    """New and changed listings, with all their photos."""
    dead: pa.Table
    """Tombstones of changed and removed listings (`tombstones.SCHEMA`)."""
    added: int
    changed: int
    removed: int
    counts: Mapping[str, Any]
    """Of the newer state as a whole: what the manifest of an index snapshot counts."""

    def __len__(self) -> int:
        """Rows and tombstones that a delta would have."""
        return len(self.rows) + int(self.dead.num_rows)

    def __str__(self) -> str:
        return f"{self.added:,} new, {self.changed:,} changed, {self.removed:,} gone"


@dataclass(frozen=True, slots=True)
class State:
    """What is searchable: the listings of `curated` in `splits` (None: all), by those of `photos` that have a code in
    `extraction`."""

    curated: Ref
    extraction: Ref
    splits: tuple[str, ...] | None = None
    photos: Photos = "all"

    @classmethod
    def of(cls, inputs: Mapping[str, str], config: Mapping[str, Any]) -> State:
        """The state that the manifest of an index snapshot or a delta names. Raises `KeyError`, `SettingsError`."""
        splits = config.get("splits")
        return cls(
            Ref.parse(inputs["curated"]),
            Ref.parse(inputs["extraction"]),
            None if splits is None else tuple(splits),
            stated_photos(config),
        )


def compare(store: ObjectStore, before: State, after: State, cache_dir: Path) -> Difference:
    """Raises `ObjectNotFound` or `CorruptObject` where a table of either state cannot be read."""
    (before_it, _), (after_it, without_code) = (_searchable(store, s, cache_dir) for s in (before, after))
    old, new = _with_photos(before_it), _with_photos(after_it)
    place = one_array(pc.index_in(new["listing_id"], one_array(old["listing_id"])))
    there = _mask(place.is_valid())
    old_rows, new_rows = place.drop_null().to_numpy().astype(np.int64), np.flatnonzero(there)
    other = np.zeros(len(new_rows), np.bool_)
    for name in sorted({*old.column_names, *new.column_names}):
        other |= _differing(_column(old, name, old_rows), _column(new, name, new_rows))
    stays = np.zeros(old.num_rows, np.bool_)
    stays[old_rows[~other]] = True
    chosen = np.union1d(np.flatnonzero(~there), new_rows[other])
    dead = old.filter(pa.array(~stays))
    return Difference(
        rows=Searchable.of(after_it.listings.take(pa.array(chosen)), after_it.photos),
        dead=to_table(one_array(dead["category"]), one_array(dead["listing_id"])),
        added=int((~there).sum()),
        changed=int(other.sum()),
        removed=old.num_rows - len(old_rows),
        counts=after_it.counts() | {"without_code": without_code},
    )


def _searchable(store: ObjectStore, state: State, cache_dir: Path) -> tuple[Searchable, int]:
    """The listings and photos of a state, and how many listings of its splits have no code."""
    offered = read_searchable(store, state.curated, state.splits, state.photos, cache_dir)
    coded = coded_photos(store, state.extraction, one_array(offered.photos["photo_id"]), cache_dir)
    found = Searchable.of(offered.listings, offered.photos.filter(coded))
    return found, offered.listings.num_rows - found.listings.num_rows


def _with_photos(found: Searchable) -> pa.Table:
    """The listings, with a column of what photos each has."""
    photos = found.photos
    ordinals = one_array(photos["ordinal"]).cast(pa.utf8())
    named = pc.binary_join_element_wise(ordinals, one_array(photos["photo_id"]), "/")
    ends = np.cumsum(np.bincount(found.listing_of_each(), minlength=found.listings.num_rows))
    offsets = pa.array(np.concatenate([[0], ends]).astype(np.int32))
    return found.listings.append_column(_PHOTOS, pa.ListArray.from_arrays(offsets, named))


def _column(table: pa.Table, name: str, rows: npt.NDArray[np.int64]) -> pa.Array | None:
    """A column in the order of `rows`; None where the table has none of that name."""
    return one_array(table[name]).take(pa.array(rows)) if name in table.column_names else None


def _differing(old: pa.Array | None, new: pa.Array | None) -> Mask:
    """bool[n]: where two columns say different things. A column that is not there says nothing."""
    if old is None or new is None:
        known = new if old is None else old
        assert known is not None
        if pa.types.is_list(known.type):
            return _lengths(known) > 0
        return _mask(known.is_valid())
    if pa.types.is_list(old.type):
        return _differing_lists(old, new)
    equal = pc.fill_null(pc.equal(old, new), False)
    both_missing = pc.and_(old.is_null(), new.is_null())
    return ~_mask(pc.or_(equal, both_missing))


def _differing_lists(old: pa.ListArray, new: pa.ListArray) -> Mask:
    differing: Mask = _lengths(old) != _lengths(new)
    (old_values, _), (new_values, rows) = (_items(lists, ~differing) for lists in (old, new))
    differing[rows[~_mask(pc.equal(old_values, new_values))]] = True
    return differing


def _lengths(lists: pa.ListArray) -> npt.NDArray[np.int64]:
    """int64[n]: how many values each list has; a missing list or value is none."""
    parents = pc.list_parent_indices(lists).to_numpy()
    counts: npt.NDArray[np.int64] = np.bincount(
        parents[_mask(lists.flatten().is_valid())], minlength=len(lists)
    )
    return counts


def _mask(array: pa.BooleanArray) -> Mask:
    mask: Mask = array.to_numpy(zero_copy_only=False).astype(np.bool_)
    return mask


def _items(lists: pa.ListArray, chosen: npt.NDArray[np.bool_]) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The values of the chosen lists, one after another, and the list that each is of."""
    values, parents = lists.flatten(), pc.list_parent_indices(lists).to_numpy()
    kept = _mask(values.is_valid()) & chosen[parents]
    return values.filter(pa.array(kept)), parents[kept]
