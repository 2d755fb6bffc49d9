"""Remnants: what is kept of photos that have gone, and what no version of this program reads any more.

Keys of a store enter, those that nothing needs leave; retention removes them. A photo goes with its last pack. Its
prints go with the last photo that is read from their *sheet*, the tables of one way of storing photos
(`photo_log.way_of`) with its last photo. Where such a photo returns it is read anew, as any that the log does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.catalogue.prints import largest
from lookalike.catalogue.verdicts import VERSION
from lookalike.errors import ObjectNotFound
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore


def outdated(found: Collection[str]) -> set[str]:
    """Verdicts of earlier versions of the search for copies."""
    return {key for key in found if (version := keys.copies_version(key)) is not None and version < VERSION}


def forgotten(store: ObjectStore, found: Mapping[str, int], packs: Collection[str]) -> set[str]:
    """Of `found` (key -> bytes) the sheets and tables that nobody needs for a photo which lies in one of `packs`.

    Reads the columns of the photo log that say so. None while parts of it are being merged.
    """
    sheets = {key: size for key, size in found.items() if key.startswith(keys.SHEETS)}
    ways = {how for key in found if (how := keys.way(key)) is not None}
    wanted, dead = set[str](), set[str]()
    try:
        for how in ways:
            ids = _ids(store, how, found, pa.array(sorted(packs), pa.string()))
            if not len(ids):
                dead.add(how)
                continue
            parts = list(_tables(store, keys.sketches(how), found, ["photo_id", "sheet"]))
            if parts:
                rows = largest(pa.concat_tables(parts), sheets)
                wanted.update(rows["sheet"].filter(pc.is_in(rows["photo_id"], ids)).unique().to_pylist())
    except ObjectNotFound:
        return set()
    return (sheets.keys() - wanted) | {key for key in found if keys.way(key) in dead}


def _ids(store: ObjectStore, how: str, found: Collection[str], packs: pa.Array) -> pa.Array:
    """Of photos that lie in `packs`."""
    parts = [
        rows["photo_id"].filter(pc.is_in(rows["pack"], packs)).combine_chunks()
        for rows in _tables(store, keys.photo_log(how), found, ["photo_id", "pack"])
    ]
    return pa.concat_arrays([pa.array([], pa.string()), *parts])


def _tables(
    store: ObjectStore, prefix: str, found: Collection[str], columns: list[str]
) -> Iterator[pa.Table]:
    for key in sorted(key for key in found if key.startswith(prefix)):
        yield pq.read_table(pa.BufferReader(store.get(key)), columns=columns)
