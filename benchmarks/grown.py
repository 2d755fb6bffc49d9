"""Large indexes for benchmarks, made out of a small live one, and a few things that benchmarks share.

A grown index has as many rows as asked, all in one category (the worst case for a scan): each row is a real listing
with one code bit in eight flipped at random, built into segments by the ordinary builder.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.catalogue.snapshot import CuratedSnapshot, listings_schema
from lookalike.columns import own_columns
from lookalike.index.builder import build
from lookalike.index.reader import IndexSnapshot
from lookalike.publishing.live_ref import LiveRecord, publish, read_live
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore
from lookalike.storage.stores import open_store

CATEGORY = "everything"


@dataclass(frozen=True)
class Grown:
    store: ObjectStore
    cache: Path
    release: Ref
    index: Ref


def open_live(uri: str, cache: Path) -> tuple[ObjectStore, LiveRecord, CuratedSnapshot]:
    """A store, what is live in it, and the curated snapshot of that. Ends the benchmark where nothing is live."""
    source = open_store(uri)
    live = read_live(source)
    if live is None:
        raise SystemExit(f"{uri}: nothing is live")
    curated = Ref.parse(read_manifest(source, live.live.index).inputs["curated"])
    return source, live.live, CuratedSnapshot.open(source, curated, cache)


def grow(
    source: ObjectStore,
    live: LiveRecord,
    snapshot: CuratedSnapshot,
    root: Path,
    rows: int,
    seed: int,
    *,
    shards: int = 1,
) -> Grown:
    """A store with the live release and an index of `rows` listings made out of the live one's."""
    store, cache = open_store(str(root / "store")), root / "cache"
    cache.mkdir(parents=True)
    for entry in (manifest := read_manifest(source, live.release)).files:
        store.put(entry.key, source.get(entry.key))
    store.put(keys.manifest(Kind.RELEASE, manifest.id), source.get(keys.manifest(Kind.RELEASE, manifest.id)))
    index = make_index(
        store,
        cache,
        live.release,
        IndexSnapshot.open(fetch(source, live.index, cache)),
        snapshot,
        rows,
        seed,
        shards=shards,
    )
    publish(store, live.release, index, by="benchmark", expected=None)
    return Grown(store, cache, live.release, index)


def make_index(
    store: ObjectStore,
    cache: Path,
    release: Ref,
    index: IndexSnapshot,
    snapshot: CuratedSnapshot,
    rows: int,
    seed: int,
    *,
    shards: int = 1,
) -> Ref:
    """Write `rows` listings with codes like the index's, and build."""
    rng = np.random.default_rng(seed)
    parts = [part for category in index.categories for part in index.partitions(category)]
    codes = np.concatenate([part.codes for part in parts])
    by_id = {i: row for row, i in enumerate(snapshot.listings["listing_id"].to_pylist())}
    ids = [i for part in parts for i in part.listing_ids.to_pylist()]
    chosen = rng.integers(0, len(codes), rows)
    table = snapshot.listings.take(pa.array([by_id[ids[i]] for i in chosen]))
    photo_ids = [hashlib.md5(f"{seed}-{i}".encode(), usedforsecurity=False).hexdigest() for i in range(rows)]
    names = pa.array([f"{i:09d}" for i in range(rows)])
    same = pa.array([CATEGORY] * rows)
    for name, column in (
        ("listing_id", names),
        ("photo_id", pa.array(photo_ids)),
        ("category", same),
        ("group", names),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, column)
    schema = listings_schema(list(snapshot.aspects), own_columns(table.column_names))
    table = table.select(schema.names).cast(schema)  # version 0.1 had them in another order
    curated = ArtefactWriter(store, Kind.CURATED, inputs={"rows": f"{rows}-{seed}"}, config={})
    pq.write_table(table, cache / "listings.parquet")
    curated.add("listings.parquet", cache / "listings.parquet")
    pq.write_table(snapshot.photos.slice(0, 0), cache / "photos.parquet")
    curated.add("photos.parquet", cache / "photos.parquet")
    curated_ref = curated.commit()
    meta = read_manifest_meta(index)
    schema = pa.schema([("photo_id", pa.string()), ("code", pa.binary(index.bits // 8))])
    path = cache / "codes.parquet"
    with pq.ParquetWriter(path, schema, compression="none") as writer:
        for start in range(0, rows, 50_000):
            some = chosen[start : start + 50_000]
            shape = (len(some), codes.shape[1])
            flips = np.bitwise_and.reduce([rng.integers(0, 256, shape, np.uint8) for _ in range(3)])
            mixed = codes[some] ^ flips
            column = pa.FixedSizeBinaryArray.from_buffers(
                schema.field("code").type, len(some), [None, pa.py_buffer(np.ascontiguousarray(mixed))]
            )
            writer.write_table(pa.table([pa.array(photo_ids[start : start + 50_000]), column], schema=schema))
    digest = hashlib.file_digest(path.open("rb"), "sha256").hexdigest()
    key = keys.code_shard(release.id, digest)
    store.upload(key, path)
    extraction = ArtefactWriter(
        store, Kind.EXTRACTION, inputs={"curated": str(curated_ref), "release": str(release)}, config={}
    )
    shard = {"key": key, "sha256": digest, "size": path.stat().st_size, "rows": rows}
    extraction.add("shards.json", json.dumps({"shards": [shard]}).encode())
    extraction_ref = extraction.commit(meta | {"release": str(release)})
    path.unlink()
    return build(store, curated_ref, extraction_ref, shards=shards, cache_dir=cache)


def read_manifest_meta(index: IndexSnapshot) -> dict[str, Any]:
    return {"bits": index.bits, "preset": dict(index.preset)}


def median_ms(work: Callable[[], object], repeats: int = 30) -> float:
    for _ in range(5):
        work()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(statistics.median(times) * 1e3, 3)


def live_photos(
    store: ObjectStore, index: Ref, cache: Path, count: int, split: str | None = None
) -> list[bytes]:
    """About `count` photos of the catalogue that an index was built from, evenly spread, or all of a split."""
    curated = Ref.parse(read_manifest(store, index).inputs["curated"])
    snapshot = CuratedSnapshot.open(store, curated, cache)
    if split is not None:
        rows = snapshot.listings.filter(pc.equal(snapshot.listings["split"], split))
        return [snapshot.photo_bytes(p) for p in sorted(set(rows["photo_id"].to_pylist()))]
    photo_ids = snapshot.photos["photo_id"].to_pylist()
    return [snapshot.photo_bytes(p) for p in photo_ids[:: max(1, len(photo_ids) // count)]]
