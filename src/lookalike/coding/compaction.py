"""Compaction: many re-indexes leave many small code shards; these become few, and no code is made anew.

Enter: a release's shards with the photos that each covers. Leave: those that are needed, after small ones of about one
size were merged (`storage.tiers`). What was merged stays where it is, for extractions that name it; retention removes
it when none is left (`superseded`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.coding.shards import CodeShard, listed_photos, put_table, read_shard
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref
from lookalike.storage.objects import ObjectStore
from lookalike.storage.tiers import crowded

Covered = tuple[CodeShard, pa.Array]
"""A shard and the ids of its photos, utf8[rows]."""


def needed(shards: Iterable[Covered]) -> list[Covered]:
    """The shards that have a photo which no larger one has. Which of them these are follows from the shards alone."""
    ordered = sorted(shards, key=lambda one: (-one[0].rows, one[0].key))
    if not ordered:
        return []
    photos = pa.concat_arrays([ids for _, ids in ordered]).dictionary_encode().indices.to_numpy()
    _, first = np.unique(photos, return_index=True)
    ends = np.cumsum([len(ids) for _, ids in ordered])
    return [ordered[place] for place in np.unique(np.searchsorted(ends, first, side="right"))]


def covering(shards: Sequence[Covered], photo_ids: pa.Array) -> list[CodeShard]:
    """Those of the shards that have one of these photos."""
    known = pa.concat_arrays([pa.array([], pa.utf8()), *(ids for _, ids in shards)])
    found = pc.is_in(known, value_set=photo_ids).to_numpy(zero_copy_only=False)
    ends = np.cumsum([0, *(len(ids) for _, ids in shards)])
    counted = np.concatenate([[0], np.cumsum(found)])[ends]
    return [shard for (shard, _), photos in zip(shards, np.diff(counted), strict=True) if photos]


def compact(
    store: ObjectStore, release: Ref, shards: Sequence[Covered], size: int, cache_dir: Path
) -> list[Covered]:
    """`shards` with small ones merged, and stored, into such of at most `size` rows. Raises `CorruptObject`."""
    found = list(shards)
    while places := crowded([shard.rows for shard, _ in found], size // 2):
        merged = _merged(store, release, [found[place][0] for place in places], size, cache_dir)
        rest = [one for place, one in enumerate(found) if place not in places]
        if len(merged) >= len(places):  # shards of several versions
            return found
        found = rest + merged
    return found


def superseded(store: ObjectStore, release_id: str) -> set[str]:
    """Keys of a release's shards, and of their lists of photos, that larger ones make unnecessary.

    Reads the lists, and takes a shard without one to be necessary.
    """
    shards = [
        (CodeShard(info.key, "", info.size, len(ids)), ids)
        for info in store.list(keys.code_shards(release_id))
        if info.key.endswith(".parquet") and (ids := listed_photos(store, info.key)) is not None
    ]
    gone = {shard.key for shard, _ in shards} - {shard.key for shard, _ in needed(shards)}
    return gone | {keys.code_shard_photos(key) for key in gone}


def _merged(
    store: ObjectStore, release: Ref, shards: Sequence[CodeShard], size: int, cache_dir: Path
) -> list[Covered]:
    """The rows of these shards, each photo once, in shards of `size`."""
    by_schema: dict[str, list[pa.Table]] = {}
    for shard in sorted(shards, key=lambda one: one.key):
        table = read_shard(store, shard, cache_dir)
        by_schema.setdefault(table.schema.to_string(), []).append(table)
    made = []
    for tables in by_schema.values():
        rows = pa.concat_tables(tables).combine_chunks()
        ids = rows["photo_id"].combine_chunks()
        rows = rows.take(pc.index_in(pc.unique(ids), ids))
        for at in range(0, len(rows), size):
            lot = rows.slice(at, size)
            made.append((put_table(store, release, lot), lot["photo_id"].combine_chunks()))
    return made
