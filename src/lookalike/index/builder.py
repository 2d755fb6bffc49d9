"""From a curated snapshot and its code shards to an index snapshot."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.errors import CatalogueError, SettingsError
from lookalike.index import segment
from lookalike.progress import Progress, silent
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch
from lookalike.storage.objects import ObjectStore


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
    """Build (or find built) the index snapshot of `curated` with the codes of `extraction`.

    `splits` names the splits whose listings become searchable; None takes all. Listings whose photo has no code
    are left out and counted in the manifest. Raises `CatalogueError` where nothing is left.
    """
    if not 1 <= shards <= 999:
        raise SettingsError(f"an index has 1 to 999 shards, not {shards}")
    config = {
        "format": segment.FORMAT,
        "shards": shards,
        "splits": sorted(splits) if splits is not None else None,
    }
    inputs = {"curated": str(curated), "extraction": str(extraction)}
    writer = ArtefactWriter(store, Kind.INDEX, inputs=inputs, config=config)
    if found := writer.existing():
        return found
    listings = pq.read_table(fetch(store, curated, cache_dir, ["listings.parquet"]).path("listings.parquet"))
    if splits is not None:
        listings = listings.filter(pc.is_in(listings["split"], pa.array(sorted(splits), pa.utf8())))
    extracted = fetch(store, extraction, cache_dir, ["shards.json"])
    meta = extracted.manifest.meta
    tables = []
    for entry in json.loads(extracted.path("shards.json").read_text())["shards"]:
        path = store.local_path(entry["key"]) or cache_dir / entry["key"]
        if not path.exists():
            store.download(entry["key"], path)
        tables.append(pq.read_table(path, columns=["photo_id", "code"]))
    codes = pa.concat_tables(tables)
    places = pc.index_in(listings["photo_id"], codes["photo_id"].combine_chunks()).combine_chunks()
    known = listings.append_column("_place", places).filter(pc.is_valid(places))
    if known.num_rows == 0:
        raise CatalogueError("no listing has a code: nothing to index")
    aspects = sorted(n.removeprefix("aspect_") for n in listings.column_names if n.startswith("aspect_"))
    dictionaries = {name: _values(known[f"aspect_{name}"]) for name in aspects}
    header = {
        "format": segment.FORMAT,
        "bits": meta["bits"],
        "release": meta["release"],
        "preset": meta["preset"],
        "shards": shards,
        "aspects": aspects,
    }
    categories = sorted(pc.unique(known["category"]).to_pylist())
    rows: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=cache_dir) as work:
        for shard in range(shards):
            parts = []
            for category in categories:
                part = known.filter(pc.equal(known["category"], category)).sort_by("listing_id")
                rows[category] = part.num_rows
                parts.append(part.take(np.arange(shard, part.num_rows, shards)))
            names = {
                "shard": shard,
                "categories": [[c, p.num_rows] for c, p in zip(categories, parts, strict=True)],
            }
            schema = segment.schema(meta["bits"], aspects, header | names)
            path = Path(work, segment.segment_name(shard, shards))
            with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as file:
                for part in parts:
                    file.write_batch(_batch(part, codes, dictionaries, schema))
            writer.add(path.name, path)
            progress("index", shard + 1, shards)
    return writer.commit(
        {
            "release": meta["release"],
            "bits": meta["bits"],
            "preset": meta["preset"],
            "rows": sum(rows.values()),
            "categories": rows,
            "shards": shards,
            "without_code": listings.num_rows - known.num_rows,
        }
    )


def _values(column: pa.ChunkedArray) -> pa.Array:
    flat = pc.list_flatten(column).combine_chunks()
    return pc.unique(flat).sort()


def _batch(
    part: pa.Table, codes: pa.Table, dictionaries: dict[str, pa.Array], schema: pa.Schema
) -> pa.RecordBatch:
    columns = [
        part["listing_id"].combine_chunks(),
        part["photo_id"].combine_chunks(),
        codes["code"].take(part["_place"].combine_chunks()).combine_chunks(),
        part["group"].combine_chunks(),
        part["price"].combine_chunks(),
    ]
    for name, values in dictionaries.items():
        lists = pc.fill_null(part[f"aspect_{name}"].combine_chunks(), pa.scalar([], pa.list_(pa.utf8())))
        places = pc.index_in(lists.flatten(), values)
        indices = pa.DictionaryArray.from_arrays(places, values)
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        columns.append(pa.ListArray.from_arrays(offsets, indices))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
