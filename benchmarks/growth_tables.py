"""What `benchmarks.growth` starts from: photos, a model release, random codes, curated tables without a curation."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from lookalike.catalogue.packs import PackWriter
from lookalike.catalogue.photo_store import shard_name
from lookalike.catalogue.snapshot import (
    LISTING_PHOTOS,
    LISTING_PHOTOS_SCHEMA,
    LISTINGS,
    PHOTOS,
    PHOTOS_SCHEMA,
    REPORT,
    listings_schema,
    open_photos,
)
from lookalike.coding.shards import put_table
from lookalike.publishing.live_ref import read_live
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, FileEntry, Kind, Ref, read_manifest
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.stores import open_store

SIDE = 96
_PACKED, _ROOM, _SHARD_ROWS = 20_000, 3072, 4096
"""Photos of a pack that is not there, bytes of each in it; rows of a code shard."""


def photo(name: str) -> bytes:
    """A JPEG like no other."""
    blots = np.random.default_rng(list(name.encode())).integers(0, 255, (7, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(blots).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(out, "JPEG", quality=80)
    return out.getvalue()


def copy_release(uri: str, store: DirectoryStore) -> str:
    """Bring the live model release of another store; its reference."""
    source = open_store(uri)
    live = read_live(source)
    if live is None:
        raise SystemExit(f"{uri}: nothing is live")
    release = live.live.release
    files = [entry.key for entry in read_manifest(source, release).files]
    for key in (*files, keys.manifest(release.kind, release.id)):
        store.put(key, source.get(key))
    return str(release)


def put_codes(store: DirectoryStore, release: Ref, curated: Ref) -> None:
    """A random code of 4096 bits for each photo, in shards as extraction cuts them."""
    ids = open_photos(store, curated, store.root.parent / "codes").in_packs
    for at in range(0, len(ids), _SHARD_ROWS):
        lot = ids[at : at + _SHARD_ROWS]
        codes = np.random.default_rng([3, at]).integers(0, 256, (len(lot), 512), np.uint8)
        fixed = pa.FixedSizeBinaryArray.from_buffers(pa.binary(512), len(lot), [None, pa.py_buffer(codes)])
        put_table(store, release, pa.table({"photo_id": lot, "code": fixed}))


def write_tables(store: DirectoryStore, folder: Path, rows: Sequence[Mapping[str, str]]) -> Ref:
    """The curated snapshot of these listings. Of its photos those named ``new-`` are made and stored, no others."""
    told = repr([*rows[:20], *rows[-20:], len(rows)])
    digest = hashlib.sha256(told.encode()).hexdigest()
    writer = ArtefactWriter(store, Kind.CURATED, inputs={"catalogue": digest}, config={})
    absent = [row["image"] for row in rows if not row["image"].startswith("new-")]
    for number in range(-(-len(absent) // _PACKED)):
        sha256 = hashlib.sha256(b"%d" % number).hexdigest()
        writer.refer(FileEntry(shard_name(1 + number), keys.pack(sha256), _PACKED * _ROOM, sha256))
    ids = {image: hashlib.md5(image.encode(), usedforsecurity=False).hexdigest() for image in absent}
    places = {
        ids[image]: (1 + at // _PACKED, at % _PACKED * _ROOM + 512, 2000) for at, image in enumerate(absent)
    }
    pack = PackWriter(folder)
    for image in sorted(row["image"] for row in rows if row["image"].startswith("new-")):
        data = photo(image)
        ids[image] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        places[ids[image]] = (0, pack.add(ids[image], data), len(data))
    made = pack.store(store)
    writer.refer(FileEntry(shard_name(0), made.key, made.size, made.sha256))
    ordered, count = sorted(places), len(rows)
    shard, offset, length = np.array([places[photo_id] for photo_id in ordered]).T
    listing_ids = [row["listing_id"] for row in rows]
    photo_ids = [ids[row["image"]] for row in rows]
    photos = {"photo_id": ordered, "shard": shard, "offset": offset, "length": length}
    photos |= {"width": [SIDE] * len(ordered), "height": [SIDE] * len(ordered), "phash": ["0"] * len(ordered)}
    listings = {
        "listing_id": listing_ids,
        "photo_id": photo_ids,
        "group": photo_ids,
        "split": ["train"] * count,
    }
    listings |= {name: [row["category"] for row in rows] for name in ("category", "source_category")}
    listings |= {"title": [row["title"] for row in rows], "price": [float(row["price"]) for row in rows]}
    shown = {"listing_id": listing_ids, "ordinal": [0] * count, "photo_id": photo_ids}
    for name, columns, schema in (
        (LISTINGS, listings, listings_schema([])),
        (PHOTOS, photos, PHOTOS_SCHEMA),
        (LISTING_PHOTOS, shown, LISTING_PHOTOS_SCHEMA),
    ):
        writer.add(name, _parquet(columns, schema))
    writer.add(REPORT, b"{}")
    return writer.commit()


def _parquet(columns: Mapping[str, object], schema: pa.Schema) -> bytes:
    """A table, with nulls for what it has no column of."""
    known = {name: pa.array(values, schema.field(name).type) for name, values in columns.items()}
    rows = len(next(iter(known.values())))
    arrays = [known[f.name] if f.name in known else pa.nulls(rows, f.type) for f in schema]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(arrays, schema=schema), sink, compression="zstd")
    data: bytes = sink.getvalue().to_pybytes()
    return data
