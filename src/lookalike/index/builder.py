"""From a curated snapshot and its code shards to an index snapshot.

Listings and the ids of their photos are small and are sorted in memory; codes are not, and are streamed: every segment
is written with holes where its codes go, then each code shard is read once, in batches, and its codes are scattered
through memory maps to the rows that need them. Memory grows with the listings, not with the codes. The same inputs give
the same bytes.
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

from lookalike.columns import stored_among
from lookalike.errors import CatalogueError, SettingsError
from lookalike.index import kernels, likeness, sketch
from lookalike.index.reader import IndexSnapshot
from lookalike.index.searchable import (
    Photos,
    Searchable,
    most_photos,
    one_array,
    read_searchable,
    read_splits,
)
from lookalike.index.segment import (
    ASPECT,
    FORMAT,
    SKETCH_PLANES,
    Header,
    aligned,
    grouping_length,
    segment_name,
)
from lookalike.index.writer import Holes, SegmentWriter
from lookalike.progress import Progress, silent
from lookalike.settings import available_cores
from lookalike.storage.artefacts import ArtefactWriter, FileEntry, Kind, Ref, fetch, fetch_file
from lookalike.storage.objects import ObjectStore

MAX_SHARDS = 999
_BATCH_ROWS = 8192
"""Codes that are decoded at a time: 4 MB."""
_FEATURE_SHARDS = 8
"""Code shards whose features tell where the catalogue's lie: 90 MB of 33,000 photos."""
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class _Places:
    """Where the code of each photo is, and goes: int64[rows] each, in the order of the code shards."""

    code: Rows
    """Which code, counted through all shards."""
    segment: Rows
    positions: Mapping[str, Rows]
    """Where in the segment's file, for the code and each descriptor."""


def build(
    store: ObjectStore,
    curated: Ref,
    extraction: Ref,
    *,
    shards: int = 1,
    splits: Collection[str] | None = None,
    photos: Photos = "all",
    take: likeness.Take | None = None,
    cache_dir: Path,
    progress: Progress = silent,
) -> Ref:
    """Build, or find built, the index snapshot of the listings of `curated` with the codes of `extraction`.

    `splits` names the splits whose listings become searchable; None takes all. `photos` says which of their photos
    do. The listings of a category are dealt out to the `shards` segments in turn. Listings none of whose photos has a
    code are left out and counted in the manifest, as are rows (photos of listings), distinct photos and listings with
    a price. With `take` its measure of likeness is that of photos as shoppers take them (`coding.shoppers`).
    Raises `CatalogueError` where no listing is left, `SettingsError` for a wrong number of shards or photos.
    """
    if not 1 <= shards <= MAX_SHARDS:
        raise SettingsError(f"an index has 1 to {MAX_SHARDS} shards, not {shards}")
    most_photos(photos)
    config: dict[str, Any] = {
        "format": FORMAT,
        "shards": shards,
        "splits": None if splits is None else sorted(splits),
        "photos": photos,
    }
    if take is not None:
        config["likeness"] = "of shoppers' photos"
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
        offered = read_searchable(store, curated, splits, photos, cache_dir)
        paths, coded = zip(*fetched, strict=True) if entries else ((), ())
    known = one_array(pa.chunked_array([chunk for ids in coded for chunk in ids.chunks], pa.utf8()))
    chosen = Searchable.of(
        offered.listings, offered.photos.filter(pc.is_in(offered.photos["photo_id"], known))
    )
    if not len(chosen):
        raise CatalogueError(
            "no listing has a code, so there is nothing to index: check the splits and the extraction"
        )
    code = one_array(pc.index_in(chosen.photos["photo_id"], known)).to_numpy().astype(np.int64)
    shape = {"bits": meta["bits"], "release": meta["release"], "preset": meta["preset"], "shards": shards}
    if descriptors := dict(sorted(meta.get("descriptors", {}).items())):
        shape["descriptors"] = descriptors
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_dir, prefix="index-") as work:
        files = [Path(work, segment_name(shard, shards)) for shard in range(shards)]
        holes, places, rows = _lay_out(files, chosen, code, shape)
        maps = [np.memmap(file, np.uint8, "r+") for file in files]
        ends = np.cumsum([len(photo_ids) for photo_ids in coded]).tolist()
        with ThreadPoolExecutor(available_cores()) as pool:
            tasks = [
                pool.submit(_scatter, path, start, maps, places, widths_of(shape))
                for path, start in zip(paths, [0, *ends], strict=False)
            ]
            for task, done in zip(tasks, ends, strict=True):
                task.result()
                progress("index", done, ends[-1])
        _sketch_all(maps, holes, rows, meta["bits"], progress)
        del maps
        built = IndexSnapshot.open_files(files)
        splits_of = read_splits(store, curated, cache_dir)
        alike = likeness.measure(built, chosen, splits_of, _shape_bits(meta), _some_features(paths), take)
        built.close()
        progress("measure likeness", 1, 1)
        for file in files:
            writer.add(file.name, file, give=True)
    counts = chosen.counts() | {"without_code": offered.listings.num_rows - chosen.listings.num_rows}
    if alike is not None:
        counts[likeness.META] = alike.to_json()
    return writer.commit(shape | counts)


def _some_features(paths: Sequence[Path]) -> likeness.Features:
    """Photo ids and features float16[n, d] of some code shards, evenly spaced; d is 0 where shards hold codes alone."""
    count = min(len(paths), _FEATURE_SHARDS)
    chosen = [paths[i * len(paths) // count] for i in range(count)]
    held = all("features16" in pq.read_schema(path).names for path in chosen)
    columns = ["photo_id", "features16"] if held else ["photo_id"]
    table = pa.concat_tables(pq.read_table(path, columns=columns) for path in chosen)
    if not held:
        return one_array(table["photo_id"]), np.empty((table.num_rows, 0), np.float16)
    rows = one_array(table["features16"])
    values = np.frombuffer(rows.buffers()[1], "<f2").reshape(-1, rows.type.byte_width // 2)
    return one_array(table["photo_id"]), values[rows.offset :][: len(rows)]


def _shape_bits(meta: Mapping[str, Any]) -> tuple[int, int]:
    """The bits, from and to, that are neither about the category nor about colours; all where they are no whole bytes
    or the extraction, older, does not say."""
    first, last = meta.get("category_bits", 0), meta["bits"] - meta.get("colour_bits", 0)
    return (0, meta["bits"]) if first % 8 or last % 8 or first >= last else (first, last)


def write_segments(
    work: Path,
    rows: Searchable,
    vectors: Mapping[str, npt.NDArray[np.uint8]],
    shape: Mapping[str, Any],
    progress: Progress,
) -> list[Path]:
    """Segments in `work` for few photos, whose code u8[n, bits / 8] and descriptors are at hand, in their order."""
    shards = shape["shards"]
    files = [work / segment_name(shard, shards) for shard in range(shards)]
    holes, places, counts = _lay_out(files, rows, np.arange(len(rows)), shape)
    maps = [np.memmap(file, np.uint8, "r+") for file in files]
    for name in widths_of(shape):
        _scatter_vectors(np.ascontiguousarray(vectors[name]), 0, maps, places, name)
    _sketch_all(maps, holes, counts, shape["bits"], progress)
    return files


def widths_of(shape: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of the code and of each descriptor."""
    return {"code": shape["bits"] // 8, **shape.get("descriptors", {})}


def _fetch_shard(
    store: ObjectStore, entry: Mapping[str, Any], cache_dir: Path
) -> tuple[Path, pa.ChunkedArray]:
    """The local file of a code shard, verified, and its photo ids. Raises `CorruptObject`."""
    path = fetch_file(store, FileEntry(entry["key"], entry["key"], entry["size"], entry["sha256"]), cache_dir)
    return path, pq.read_table(path, columns=["photo_id"])["photo_id"]


def _lay_out(
    files: Sequence[Path], chosen: Searchable, code: Rows, shape: Mapping[str, Any]
) -> tuple[list[list[Holes]], _Places, dict[str, int]]:
    """Write all segments but for their codes: the holes by segment and category, the places, rows by category.

    `code` int64[photos] says which code each photo has.
    """
    shards, indexed, of = len(files), chosen.listings, chosen.listing_of_each()
    categories = sorted(pc.unique(indexed["category"]).to_pylist())
    number = one_array(pc.index_in(indexed["category"], pa.array(categories, pa.utf8()))).to_numpy()
    by_category = np.argsort(number, kind="stable")
    total = np.bincount(number, minlength=len(categories))
    within = np.empty(len(number), np.int64)
    within[by_category] = np.arange(len(number)) - np.repeat(np.cumsum(total) - total, total)
    dealt = (
        within + number
    ) % shards  # a different first shard for each category, or small ones would pile up
    row_number = number[of]
    order = np.argsort(row_number, kind="stable")
    rows = np.bincount(row_number, minlength=len(categories))
    known = stored_among(indexed.column_names)
    columns = tuple((c.name, c.stored) for c in known if c.stored and _states(indexed, c.name))
    aspects = tuple(n.removeprefix(ASPECT) for n in indexed.column_names if n.startswith(ASPECT))
    values = {name: _values(indexed[name]) for name, kind in columns if kind == "label"}
    values |= {ASPECT + name: _values(pc.list_flatten(indexed[ASPECT + name])) for name in aspects}
    widths = widths_of(shape)
    stated = {**shape, "descriptors": tuple(shape.get("descriptors", {}).items())}
    holes: list[list[Holes]] = []
    places = []
    for shard, file in enumerate(files):
        mine = order[dealt[of[order]] == shard]
        counts = np.bincount(row_number[mine], minlength=len(categories))
        header = Header(
            shard=shard,
            aspects=aspects,
            categories=tuple(zip(categories, counts.tolist(), strict=True)),
            columns=columns,
            listings=tuple(np.bincount(number[dealt == shard], minlength=len(categories)).tolist()),
            **stated,
        )
        batch = _batch(indexed, of[mine], chosen.photos.take(pa.array(mine)), header, values)
        with file.open("wb") as sink:
            segment = SegmentWriter(sink, header, values)
            starts = np.cumsum(counts) - counts
            mine_holes = [
                segment.add(batch.slice(start, n), sketched=n_all >= sketch.MIN_ROWS)
                for start, n, n_all in zip(starts.tolist(), counts.tolist(), rows.tolist(), strict=True)
            ]
            segment.finish()
        row = np.arange(len(mine)) - np.repeat(starts, counts)
        positions = {
            name: np.repeat(np.array([hole.vectors[name] for hole in mine_holes]), counts) + row * width
            for name, width in widths.items()
        }
        places.append((code[mine], np.full(len(mine), shard), positions))
        holes.append(mine_holes)
    codes, segment_of = (np.concatenate([place[i] for place in places]) for i in range(2))
    by_code = np.argsort(codes, kind="stable")
    positions = {name: np.concatenate([place[2][name] for place in places])[by_code] for name in widths}
    found = _Places(codes[by_code], segment_of[by_code], positions)
    return holes, found, dict(zip(categories, rows.tolist(), strict=True))


def _batch(
    listings: pa.Table, of: Rows, photos: pa.Table, header: Header, values: Mapping[str, pa.StringArray]
) -> pa.RecordBatch:
    """The rows of a segment, category by category, without their codes: `photos`, each of the listing `of` it."""
    row = np.arange(len(of))
    first = pa.array(row, mask=np.diff(of, prepend=-1) == 0)
    listings = listings.take(pa.array(of))
    columns = {
        "listing_id": one_array(photos["listing_id"]),
        "photo_ordinal": one_array(photos["ordinal"]),
        "photo_id": one_array(photos["photo_id"]),
        "group": one_array(listings["group"]),
    }
    for name, kind in header.columns:
        column = one_array(listings[name])
        if kind == "text":  # is read from the first photo's row; the others need not repeat it
            column = column.take(first)  # `if_else` would keep the letters below its nulls
        elif kind == "label":
            column = pa.DictionaryArray.from_arrays(pc.index_in(column, values[name]), values[name])
        columns[name] = column
    for name in header.aspects:
        columns[ASPECT + name] = _indexed(one_array(listings[ASPECT + name]), values[ASPECT + name])
    return pa.RecordBatch.from_pydict(columns)


def _states(listings: pa.Table, name: str) -> bool:
    """Whether any listing states something in a column."""
    return name in listings.column_names and listings[name].null_count < listings.num_rows


def _scatter(
    path: Path,
    start: int,
    maps: Sequence[npt.NDArray[np.uint8]],
    places: _Places,
    widths: Mapping[str, int],
) -> None:
    """Copy every code of a shard, whose first is code number `start`, to its places, and the descriptors beside it."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(widths)):
            for name, width in widths.items():
                column = batch[name]
                vectors = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, width)[column.offset :]
                _scatter_vectors(vectors[: len(column)], start, maps, places, name)
            start += batch.num_rows


def _scatter_vectors(
    vectors: npt.NDArray[np.uint8],
    start: int,
    maps: Sequence[npt.NDArray[np.uint8]],
    places: _Places,
    name: str,
) -> None:
    """Copy codes or a descriptor, the first being that of code number `start`, to their places."""
    first, last = np.searchsorted(places.code, [start, start + len(vectors)])
    for shard, target in enumerate(maps):
        chosen = np.flatnonzero(places.segment[first:last] == shard) + first
        kernels.scatter(vectors, places.code[chosen] - start, target, places.positions[name][chosen])


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
        m[h.vectors["code"] : h.vectors["code"] + h.rows * bits // 8].reshape(h.rows, bits // 8)
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
    """The distinct values of a label or an aspect, in order."""
    values = pc.unique(column).drop_null()
    return values.take(pc.sort_indices(values))


def _indexed(lists: pa.ListArray, values: pa.StringArray) -> pa.ListArray:
    """Lists of strings as lists of dictionary indices; missing lists become empty, missing values are dropped."""
    flat, parents = lists.flatten(), pc.list_parent_indices(lists)
    known = flat.is_valid()
    items, parents = pc.index_in(flat.filter(known), values), parents.filter(known)
    counts = np.bincount(parents.to_numpy(), minlength=len(lists))
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.DictionaryArray.from_arrays(items, values))
