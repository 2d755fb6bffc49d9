"""From a curated snapshot and its code shards to an index snapshot.

Listings are small and are sorted in memory; codes are not, and are streamed: every segment is written with holes where
its codes go, then each code shard is read once, in batches, and its codes are scattered through memory maps to the rows
that need them. Memory grows with the listings, not with the codes. The same inputs give the same bytes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.errors import CatalogueError, SettingsError
from lookalike.index import kernels, sketch
from lookalike.index.segment import FORMAT, SKETCH_PLANES, Header, aligned, grouping_length, segment_name
from lookalike.index.writer import Holes, SegmentWriter
from lookalike.progress import Progress, silent
from lookalike.settings import available_cores
from lookalike.storage.artefacts import ArtefactWriter, FileEntry, Kind, Ref, fetch, fetch_file
from lookalike.storage.objects import ObjectStore

MAX_SHARDS = 999
_BATCH_ROWS = 8192
"""Codes that are decoded at a time: 4 MB."""
_ASPECT = "aspect_"

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where the code of each listing is, and goes: int64[listings] each, in the order of the code shards."""

    code: Rows
    """Which code, counted through all shards."""
    segment: Rows
    position: Rows
    """Where in the segment's file."""


def build(
    store: ObjectStore,
    curated: Ref,
    extraction: Ref,
    *,
    shards: int = 1,
    splits: Collection[str] | None = None,
    cache_dir: Path,
    progress: Progress = silent,
) -> Ref:
    """Build, or find built, the index snapshot of the listings of `curated` with the codes of `extraction`.

    `splits` names the splits whose listings become searchable; None takes all. The rows of a category are dealt out to
    the `shards` segments in turn. Listings whose photo has no code are left out and counted in the manifest,
    as are distinct photos and listings with a price. Raises
    `CatalogueError` where no listing is left, `SettingsError` for a wrong number of shards.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise SettingsError(f"an index has 1 to {MAX_SHARDS} shards, not {shards}")
    config = {"format": FORMAT, "shards": shards, "splits": None if splits is None else sorted(splits)}
    inputs = {"curated": str(curated), "extraction": str(extraction)}
    writer = ArtefactWriter(store, Kind.INDEX, inputs=inputs, config=config)
    if found := writer.existing():
        return found
    extracted = fetch(store, extraction, cache_dir, ["shards.json"])
    meta = extracted.manifest.meta
    if meta["bits"] % 64:
        raise SettingsError(f"codes of {meta['bits']} bits cannot be indexed: a multiple of 64 can")
    entries = json.loads(extracted.path("shards.json").read_text())["shards"]
    with ThreadPoolExecutor(available_cores()) as pool:
        fetched = pool.map(lambda entry: _fetch_shard(store, entry, cache_dir), entries)
        snapshot = fetch(store, curated, cache_dir, ["listings.parquet"])
        listings = read_listings(snapshot.path("listings.parquet"), splits)
        paths, photos = zip(*fetched, strict=True) if entries else ((), ())
    code = pc.index_in(
        listings["photo_id"], one_array(pa.chunked_array([c for p in photos for c in p.chunks], pa.utf8()))
    )
    coded = (
        listings.append_column("code", one_array(code).cast(pa.int64()))
        .filter(one_array(code).is_valid())
        .combine_chunks()
    )
    if coded.num_rows == 0:
        raise CatalogueError(
            "no listing has a code, so there is nothing to index: check the splits and the extraction"
        )
    shape = {"bits": meta["bits"], "release": meta["release"], "preset": meta["preset"], "shards": shards}
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="index-") as work:
        files = [Path(work, segment_name(shard, shards)) for shard in range(shards)]
        holes, places, rows = _lay_out(files, coded, shape)
        maps = [np.memmap(file, np.uint8, "r+") for file in files]
        ends = np.cumsum([len(photo_ids) for photo_ids in photos]).tolist()
        with ThreadPoolExecutor(available_cores()) as pool:
            tasks = [
                pool.submit(_scatter, path, start, maps, places, meta["bits"] // 8)
                for path, start in zip(paths, [0, *ends], strict=False)
            ]
            for task, done in zip(tasks, ends, strict=True):
                task.result()
                progress("index", done, ends[-1])
        _sketch_all(maps, holes, rows, meta["bits"], progress)
        del maps
        for file in files:
            writer.add(file.name, file, give=True)
    counts = {
        "rows": coded.num_rows,
        "categories": rows,
        "without_code": listings.num_rows - coded.num_rows,
        "photos": pc.count_distinct(coded["photo_id"]).as_py(),
        "priced": coded.num_rows - coded["price"].null_count,
    }
    return writer.commit(shape | counts)


def write_segments(
    work: Path, listings: pa.Table, codes: npt.NDArray[np.uint8], shape: Mapping[str, Any], progress: Progress
) -> list[Path]:
    """Segments in `work` for few rows, whose codes u8[n, bits / 8] are at hand; `listings` sorted by listing id."""
    shards = shape["shards"]
    files = [work / segment_name(shard, shards) for shard in range(shards)]
    numbered = listings.append_column("code", pa.array(np.arange(len(codes)))).combine_chunks()
    holes, places, rows = _lay_out(files, numbered, shape)
    maps = [np.memmap(file, np.uint8, "r+") for file in files]
    _scatter_codes(np.ascontiguousarray(codes), 0, maps, places)
    _sketch_all(maps, holes, rows, shape["bits"], progress)
    return files


def read_listings(path: Path, splits: Collection[str] | None, *, also: Sequence[str] = ()) -> pa.Table:
    """Listings of those splits in the order of their ids, with the columns that a segment has, and `also` others."""
    names = pq.read_schema(path).names
    columns = [
        "listing_id",
        "photo_id",
        "category",
        "group",
        "price",
        *(n for n in names if n.startswith(_ASPECT)),
        *also,
    ]
    filters = None if splits is None else pc.field("split").isin(pa.array(sorted(splits), pa.utf8()))
    table = pq.read_table(path, columns=columns, filters=filters)
    ids = table["listing_id"]
    if table.num_rows > 1 and not pc.all(pc.less(ids[:-1], ids[1:])).as_py():
        table = table.sort_by("listing_id")
    return table


def _fetch_shard(
    store: ObjectStore, entry: Mapping[str, Any], cache_dir: Path
) -> tuple[Path, pa.ChunkedArray]:
    """The local file of a code shard, verified, and its photo ids. Raises `CorruptObject`."""
    path = fetch_file(store, FileEntry(entry["key"], entry["key"], entry["size"], entry["sha256"]), cache_dir)
    return path, pq.read_table(path, columns=["photo_id"])["photo_id"]


def _lay_out(
    files: Sequence[Path], listings: pa.Table, shape: Mapping[str, Any]
) -> tuple[list[list[Holes]], _Places, dict[str, int]]:
    """Write all segments but for their codes: the holes by segment and category, the places, rows by category."""
    shards, width = len(files), shape["bits"] // 8
    categories = sorted(pc.unique(listings["category"]).to_pylist())
    number = one_array(pc.index_in(listings["category"], pa.array(categories, pa.utf8()))).to_numpy()
    order = np.argsort(number, kind="stable")
    rows = np.bincount(number, minlength=len(categories))
    within = np.arange(len(order)) - np.repeat(np.cumsum(rows) - rows, rows)
    dealt = (
        within + number[order]
    ) % shards  # a different first shard for each category, or small ones would pile up
    aspects = sorted(n.removeprefix(_ASPECT) for n in listings.column_names if n.startswith(_ASPECT))
    values = {name: _values(listings[_ASPECT + name]) for name in aspects}
    holes, places = [], []
    for shard, file in enumerate(files):
        mine = order[dealt == shard]
        counts = np.bincount(number[mine], minlength=len(categories))
        header = Header(
            shard=shard,
            aspects=tuple(aspects),
            categories=tuple(zip(categories, counts.tolist(), strict=True)),
            **shape,
        )
        table = listings.take(pa.array(mine))
        columns = {name: one_array(table[name]) for name in ("listing_id", "photo_id", "group", "price")}
        columns |= {
            _ASPECT + name: _indexed(one_array(table[_ASPECT + name]), values[name]) for name in aspects
        }
        batch = pa.RecordBatch.from_pydict(columns)
        with file.open("wb") as sink:
            segment = SegmentWriter(sink, header, values)
            starts = np.cumsum(counts) - counts
            mine_holes = [
                segment.add(batch.slice(start, n), sketched=total >= sketch.MIN_ROWS)
                for start, n, total in zip(starts.tolist(), counts.tolist(), rows.tolist(), strict=True)
            ]
            segment.finish()
        base = np.repeat(np.array([h.codes for h in mine_holes]), counts)
        row = np.arange(len(mine)) - np.repeat(starts, counts)
        places.append((one_array(table["code"]).to_numpy(), np.full(len(mine), shard), base + row * width))
        holes.append(mine_holes)
    code, segment_of, position = (np.concatenate(arrays) for arrays in zip(*places, strict=True))
    by_code = np.argsort(code, kind="stable")
    found = _Places(code[by_code], segment_of[by_code], position[by_code])
    return holes, found, dict(zip(categories, rows.tolist(), strict=True))


def _scatter(
    path: Path, start: int, maps: Sequence[npt.NDArray[np.uint8]], places: _Places, width: int
) -> None:
    """Copy every code of a shard, whose first is code number `start`, to its places."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=["code"]):
            column = batch["code"]
            codes = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, width)[column.offset :]
            _scatter_codes(codes[: len(column)], start, maps, places)
            start += len(column)


def _scatter_codes(
    codes: npt.NDArray[np.uint8],
    start: int,
    maps: Sequence[npt.NDArray[np.uint8]],
    places: _Places,
) -> None:
    """Copy `codes`, whose first is code number `start`, to their places."""
    first, last = np.searchsorted(places.code, [start, start + len(codes)])
    for shard, target in enumerate(maps):
        chosen = np.flatnonzero(places.segment[first:last] == shard) + first
        kernels.scatter(codes, places.code[chosen] - start, target, places.position[chosen])


def _sketch_all(
    maps: Sequence[npt.NDArray[np.uint8]],
    holes: Sequence[Sequence[Holes]],
    rows: Mapping[str, int],
    bits: int,
    progress: Progress,
) -> None:
    """Write the sketches of all categories that have enough rows."""
    for number, (category, n) in enumerate(rows.items()):
        if n >= sketch.MIN_ROWS:
            _sketch(maps, [h[number] for h in holes], bits)
            progress("sketch", number + 1, len(rows), category)


def _sketch(maps: Sequence[npt.NDArray[np.uint8]], holes: Sequence[Holes], bits: int) -> None:
    """Fit the grouping of a category to rows of all its segments, and write its sketches."""
    codes = [
        m[h.codes : h.codes + h.rows * bits // 8].reshape(h.rows, bits // 8)
        for m, h in zip(maps, holes, strict=True)
    ]
    rows = sum(h.rows for h in holes)
    step = rows // sketch.SAMPLE
    sample = np.concatenate([part[::step] for part in codes])[: sketch.SAMPLE]
    grouping = sketch.fit(sample)
    letters = b"-" * grouping_length(bits) if grouping is None else grouping.to_letters()
    for target, part, hole in zip(maps, codes, holes, strict=True):
        target[hole.grouping : hole.grouping + len(letters)] = np.frombuffer(letters, np.uint8)
        if grouping is not None and hole.rows:
            stride = aligned(hole.rows)
            planes = target[hole.sketch : hole.sketch + SKETCH_PLANES * stride].reshape(SKETCH_PLANES, stride)
            count = grouping.counter()
            for start in range(0, hole.rows, _BATCH_ROWS):
                stop = min(start + _BATCH_ROWS, hole.rows)
                planes[:, start:stop] = count(part[start:stop])


def _values(column: pa.ChunkedArray) -> pa.StringArray:
    """The distinct values of an aspect, in order."""
    values = pc.unique(pc.list_flatten(column)).drop_null()
    return values.take(pc.sort_indices(values))


def _indexed(lists: pa.ListArray, values: pa.StringArray) -> pa.ListArray:
    """Lists of strings as lists of dictionary indices; missing lists become empty, missing values are dropped."""
    flat, parents = lists.flatten(), pc.list_parent_indices(lists)
    known = flat.is_valid()
    items, parents = pc.index_in(flat.filter(known), values), parents.filter(known)
    counts = np.bincount(parents.to_numpy(), minlength=len(lists))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.DictionaryArray.from_arrays(items, values))


def one_array(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """One contiguous array."""
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
