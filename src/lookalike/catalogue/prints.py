"""The prints of a log's photos: a *sketch* of each in a table, the prints themselves in *sheets*.

Prints enter once, as photos are taken in (`imaging.prints`); sketches of all, or the prints of a few, leave. A sketch
has 128 bytes and says which photos may be copies of one another (`sketches`); prints have 6 kB, and are read for those
alone. A sheet holds the prints of photos that were taken in together, each deflated, one after the other; it is named
by its content. Where few of it are wanted and it lies in a bucket, these are read by range. Small sheets are merged
where there are many; each photo is read from its largest.
"""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.catalogue.parts import add_part, fetched, merge_parts, parts_with, read_parts
from lookalike.catalogue.sketches import SKETCH_BYTES, sketches_of
from lookalike.errors import CorruptObject, ObjectNotFound
from lookalike.imaging.prints import SIDE
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore
from lookalike.storage.tiers import crowded

_SHAPE = (2, SIDE, SIDE, 3)
SCHEMA = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("sheet", pa.string(), nullable=False),  # key of the object that holds its prints
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("sketch", pa.binary(SKETCH_BYTES), nullable=False),  # uint8[2, 8, 8]
    ]
)
_MANY = 4
"""A sheet is fetched whole where at least one in so many of its bytes are wanted."""
_LARGE = 8 << 20
"""Bytes of a sheet that is not merged any more."""
_READERS = 16
_ROWS = 4096
_OLD = "prints"
"""Column of the log that had the prints in version 0.2.0."""


class Prints:
    """Sketches and prints of what one log knows. A photo whose prints are not known has a sketch of zeros."""

    def __init__(self, store: ObjectStore, cache_dir: Path, rows: pa.Table) -> None:
        self._store, self._cache, self._rows = store, cache_dir, rows
        self._ids = rows["photo_id"].combine_chunks()
        self._sheets: dict[str, Path] = {}

    @classmethod
    def open(cls, store: ObjectStore, cache_dir: Path, way: str) -> Self:
        """Rows whose sheet retention has removed are none. Raises `CorruptObject` naming a damaged part."""
        rows = read_parts(store, cache_dir, keys.sketches(way), SCHEMA)
        return cls(store, cache_dir, largest(rows, _sheets(store)))

    def sketches(self, photo_ids: pa.Array) -> NDArray[np.uint8]:
        """uint8[n, 2, 8, 8] in the order of `photo_ids`."""
        found = np.zeros((len(photo_ids), SKETCH_BYTES), np.uint8)
        rows = pc.index_in(photo_ids, self._ids)
        known = pc.is_valid(rows).to_numpy(zero_copy_only=False)
        taken = self._rows["sketch"].take(rows.filter(pa.array(known))).combine_chunks()
        flat = np.frombuffer(taken.buffers()[1] or b"", np.uint8).reshape(-1, SKETCH_BYTES)
        found[known] = flat[taken.offset : taken.offset + len(taken)]
        return found.reshape(-1, 2, 8, 8)

    def read(self, photo_ids: pa.Array) -> NDArray[np.uint8]:
        """uint8[n, 2, 32, 32, 3] in the order of `photo_ids`; zeros where they are not known.

        Raises `CorruptObject`, and `ObjectNotFound` where a sheet is gone.
        """
        found = np.zeros((len(photo_ids), *_SHAPE), np.uint8)
        at = pc.index_in(photo_ids, self._ids)
        places = self._rows.select(["sheet", "offset", "length"]).take(at.drop_null())
        wanted = np.flatnonzero(pc.is_valid(at).to_numpy(zero_copy_only=False))
        numbers = pc.rank(places["sheet"], tiebreaker="dense").to_numpy() - 1
        offsets, lengths = (places[name].to_numpy() for name in ("offset", "length"))
        for members in np.split(np.argsort(numbers, kind="stable"), np.cumsum(np.bincount(numbers))[:-1]):
            if len(members):
                key = places["sheet"][int(members[0])].as_py()
                data = self._deflated(key, offsets[members], lengths[members])
                for row, one in zip(wanted[members], data, strict=True):
                    found[row] = _inflated(key, one)
        return found

    def _deflated(self, key: str, offsets: np.ndarray, lengths: np.ndarray) -> Iterable[bytes]:
        """These stretches of one sheet."""
        places = list(zip(offsets.tolist(), lengths.tolist(), strict=True))
        if key not in self._sheets:  # a whole one is checked once
            there = self._store.local_path(key) is not None or (self._cache / key).exists()
            if not there and _MANY * int(lengths.sum()) < self._store.head(key).size:
                with ThreadPoolExecutor(_READERS) as pool:
                    return list(pool.map(lambda at: self._store.get(key, start=at[0], length=at[1]), places))
            path = fetched(self._store, self._cache, key)
            if path is None:
                raise ObjectNotFound(key, f"{self._store.uri}/{key} was removed meanwhile; run it again")
            self._sheets[key] = path
        sheet = np.memmap(self._sheets[key], np.uint8, "r")
        return [bytes(sheet[start : start + length]) for start, length in places]


def small_prints(prints: Prints, photo_ids: pa.Array) -> NDArray[np.uint8]:
    """uint8[n, 16, 16, 3]: whole photos at their smallest, to compare looks by."""
    found = [np.zeros((0, 16, 16, 3), np.uint8)]
    for at in range(0, len(photo_ids), _ROWS):
        whole = prints.read(photo_ids[at : at + _ROWS])[:, 0].reshape(-1, 16, 2, 16, 2, 3)
        found.append((whole.mean(axis=(2, 4), dtype=np.float32) + 0.5).astype(np.uint8))
    return np.concatenate(found)


def add_prints(store: ObjectStore, way: str, photo_ids: Sequence[str], prints: Iterable[np.ndarray]) -> None:
    """Keep uint8[2, 32, 32, 3] of each photo for good: first the sheet, then what says where they lie."""
    sheet, lengths, sketches = bytearray(), [], []
    for one in prints:
        data = zlib.compress(one.tobytes(), 6)
        sheet += data
        lengths.append(len(data))
        sketches.append(sketches_of(one[None]).tobytes())
    if not lengths:
        return
    key = _put_sheet(store, sheet)
    offsets = np.cumsum([0, *lengths[:-1]])
    columns = [list(photo_ids), [key] * len(lengths), offsets, lengths, sketches]
    add_part(store, keys.sketches(way), pa.table(columns, schema=SCHEMA))


def merge_sketches(store: ObjectStore, cache_dir: Path, way: str) -> None:
    """Merge small sheets, and small parts of the table, where there are many. The sheets stay for who reads them;
    retention removes them with the packs of their photos, which are merged likewise."""
    merge_sheets(store, cache_dir, way)
    merge_parts(store, cache_dir, keys.sketches(way), SCHEMA, lambda rows: largest(rows, _sheets(store)))


def merge_sheets(store: ObjectStore, cache_dir: Path, way: str) -> None:
    """Put the prints of small sheets of about one size into one, where there are many."""
    sizes = _sheets(store)
    if not crowded(list(sizes.values()), _LARGE):  # sheets of all ways
        return
    rows = largest(read_parts(store, cache_dir, keys.sketches(way), SCHEMA), sizes)
    own = sorted(rows["sheet"].unique().to_pylist())
    sheet, moved = bytearray(), []
    for key in [own[place] for place in crowded([sizes[key] for key in own], _LARGE)]:
        path = fetched(store, cache_dir, key)
        if path is None:  # removed meanwhile, and what it held is none
            continue
        there = rows.filter(pc.equal(rows["sheet"], key))
        offsets = pc.add(there["offset"], len(sheet))
        moved.append(there.set_column(SCHEMA.get_field_index("offset"), SCHEMA.field("offset"), offsets))
        sheet += path.read_bytes()
    if moved:
        merged = pa.concat_tables(moved)
        named = pa.array([_put_sheet(store, sheet)] * len(merged), pa.string())
        merged = merged.set_column(SCHEMA.get_field_index("sheet"), SCHEMA.field("sheet"), named)
        add_part(store, keys.sketches(way), merged)


def take_out_prints(store: ObjectStore, cache_dir: Path, way: str, schema: pa.Schema) -> None:
    """Move the prints of a log that version 0.2.0 wrote into sheets; its parts have the columns of `schema` then.

    A part stays until what replaces it is stored, so that a process which is killed loses nothing.
    """
    for key, path in parts_with(store, cache_dir, keys.photo_log(way), _OLD):
        # another curation that does the same may have removed it
        with contextlib.suppress(FileNotFoundError), pa.memory_map(str(path)) as file:
            old = pq.ParquetFile(file)
            for batch in old.iter_batches(_ROWS, columns=["photo_id", _OLD]):
                batch = batch.filter(pc.is_valid(batch[_OLD]))
                prints = (np.frombuffer(x.as_py(), np.uint8).reshape(_SHAPE) for x in batch[_OLD])
                add_prints(store, way, batch["photo_id"].to_pylist(), prints)
            add_part(store, keys.photo_log(way), old.read(schema.names).cast(schema))
        store.delete(key)


def _inflated(key: str, data: bytes) -> np.ndarray:
    try:
        return np.frombuffer(zlib.decompress(data), np.uint8).reshape(_SHAPE)
    except (zlib.error, ValueError) as error:
        raise CorruptObject(key, f"{key} is damaged; remove it and run again: {error}") from error


def largest(rows: pa.Table, sizes: Mapping[str, int]) -> pa.Table:
    """Of each photo the row whose sheet is the largest of those that there are (key -> bytes)."""
    size = pa.array(list(sizes.values()), pa.int64()).take(
        pc.index_in(rows["sheet"].combine_chunks(), pa.array(list(sizes), pa.string()))
    )
    if size.null_count:
        rows, size = rows.filter(pc.is_valid(size)), size.drop_null()
    if pc.count_distinct(rows["photo_id"]).as_py() == rows.num_rows:
        return rows
    order = pc.sort_indices(
        pa.table({"size": size, "sheet": rows["sheet"]}),
        sort_keys=[("size", "descending"), ("sheet", "ascending")],
    )
    ids = rows["photo_id"].take(order).combine_chunks()
    return rows.take(order.take(pc.index_in(pc.unique(ids), ids)))


def _sheets(store: ObjectStore) -> dict[str, int]:
    """All sheets of the store and their bytes."""
    return {info.key: info.size for info in store.list(keys.SHEETS)}


def _put_sheet(store: ObjectStore, sheet: bytes | bytearray) -> str:
    key = keys.sheet(hashlib.sha256(sheet).hexdigest())
    store.put(key, bytes(sheet))
    return key
