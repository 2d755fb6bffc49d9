"""Tiny real snapshots: curated listings and code shards, written the way the other rooms write them."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref
from lookalike.storage.directory import DirectoryStore

RELEASE = Ref(Kind.RELEASE, "0123456789abcdef", "ab" * 32)
PRESET = {"name": "small", "resize": 64, "crop": 56, "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2]}


@dataclass(frozen=True)
class Snapshot:
    """A store with a curated snapshot and an extraction in it, and what they were made from."""

    store: DirectoryStore
    curated: Ref
    extraction: Ref
    listings: pa.Table
    codes: dict[str, npt.NDArray[np.uint8]]
    photos: pa.Table
    """The photos of each listing."""


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def make_snapshot(
    root: Path,
    rows: dict[str, int],
    *,
    bits: int = 128,
    seed: int = 1,
    missing: int = 0,
    shard_rows: int = 50,
    correlated: bool = False,
    photos: int = 1,
    further: bool = False,
    descriptors: dict[str, int] | None = None,
) -> Snapshot:
    """`rows` listings per category, every third with the main photo of the one before; `missing` photos lack a code.

    A listing has up to `photos` photos. `further` gives it the columns that format 1 of a segment does not hold, and
    the code shards have `descriptors`, of these widths, beside the codes.
    """
    rng = np.random.default_rng(seed)
    store = DirectoryStore(root)
    categories = [category for category, n in rows.items() for _ in range(n)]
    n = len(categories)
    listing_ids = np.sort(rng.choice(10 * n + 10, n, replace=False))
    photo_ids = [hashlib.md5(str(i - (i % 3 == 2)).encode()).hexdigest() for i in range(n)]
    order = rng.permutation(n)
    listings = pa.table(
        {
            "listing_id": pa.array([f"L{i:07d}" for i in listing_ids]),
            "photo_id": pa.array([photo_ids[i] for i in order]),
            "category": pa.array([categories[i] for i in order]),
            "source_category": pa.array([categories[i] for i in order]),
            "split": pa.array([("train", "val", "test")[i % 3] for i in range(n)]),
            "title": pa.array([f"title {i}" if i % 2 else None for i in range(n)]),
            "price": pa.array([float(i) if i % 4 else None for i in range(n)]),
            "product": pa.array([None] * n, pa.utf8()),
            "seller": pa.array([None] * n, pa.utf8()),
            "group": pa.array([f"g{i // 2}" for i in range(n)]),
            "aspect_brand": pa.array(
                [[f"b{i % 5}"] if i % 3 else None for i in range(n)], pa.list_(pa.utf8())
            ),
            "aspect_color": pa.array([["red", "blue"][: i % 3] for i in range(n)], pa.list_(pa.utf8())),
        }
    )
    if further:
        listings = with_further_columns(listings)
    writer = ArtefactWriter(
        store, Kind.CURATED, inputs={"catalogue": f"{seed}"}, config={"rows": rows, "photos": photos}
    )
    writer.add("listings.parquet", parquet(listings))
    of_listings = photos_of_listings(listings, photos, seed)
    if photos > 1:
        writer.add("listing_photos.parquet", parquet(of_listings))
    curated = writer.commit()
    distinct = sorted(set(of_listings["photo_id"].to_pylist()))[missing:]
    if correlated:  # as a network's are: many bits rise and fall together
        hidden = rng.normal(size=(len(distinct), 6)) @ rng.normal(size=(6, bits)) + rng.normal(size=bits)
        codes = dict(zip(distinct, np.packbits(hidden > 0, axis=1), strict=True))
    else:
        codes = {p: rng.integers(0, 256, bits // 8, np.uint8) for p in distinct}
    shards = []
    widths = descriptors or {}
    for start in range(0, len(distinct), shard_rows):
        names = distinct[start : start + shard_rows]
        table = pa.table(
            {
                "photo_id": pa.array(names, pa.utf8()),
                "code": pa.array([codes[p].tobytes() for p in names], pa.binary(bits // 8)),
                "features16": pa.array([b"\0" * 8 for _ in names], pa.binary(8)),
            }
            | {d: pa.array([descriptor(p, d, w) for p in names], pa.binary(w)) for d, w in widths.items()}
        )
        data = parquet(table)
        digest = hashlib.sha256(data).hexdigest()
        key = keys.code_shard(RELEASE.id, digest)
        store.put(key, data)
        shards.append({"key": key, "sha256": digest, "size": len(data), "rows": len(names)})
    writer = ArtefactWriter(
        store, Kind.EXTRACTION, inputs={"curated": str(curated), "release": str(RELEASE)}, config={}
    )
    writer.add("shards.json", json.dumps({"shards": shards}).encode())
    meta = {"release": str(RELEASE), "bits": bits, "preset": PRESET}
    extraction = writer.commit(meta | ({"descriptors": widths} if widths else {}))
    return Snapshot(store, curated, extraction, listings, codes, of_listings)


def with_further_columns(listings: pa.Table) -> pa.Table:
    ids = listings["listing_id"].to_pylist()
    columns = {
        "seller": [None if i % 5 == 0 else f"seller {i % 3}" for i in range(len(ids))],
        "url": [f"https://shop.example/{x}?q=ü" if i % 7 else None for i, x in enumerate(ids)],
        "image_url": [f"https://shop.example/{x}.jpg" for x in ids],
        "currency": ["EUR" if i % 2 else "CHF" for i in range(len(ids))],
        "availability": [None] * len(ids),  # nobody says, so no segment has it
    }
    for name, values in columns.items():
        column = pa.array(values, pa.utf8())
        at = listings.schema.get_field_index(name)
        listings = listings.append_column(name, column) if at < 0 else listings.set_column(at, name, column)
    return listings


def photos_of_listings(listings: pa.Table, most: int, seed: int) -> pa.Table:
    """The main photo of each listing and, where `most` is above 1, up to so many: by listing id and ordinal."""
    rng = np.random.default_rng([seed, most])
    rows = []
    for row in listings.select(["listing_id", "photo_id"]).to_pylist():
        rows.append({**row, "ordinal": 0})
        for ordinal in range(1, int(rng.integers(1, most + 1))):
            photo_id = hashlib.md5(f"{row['listing_id']}/{ordinal}".encode()).hexdigest()
            rows.append({"listing_id": row["listing_id"], "photo_id": photo_id, "ordinal": ordinal})
    schema = pa.schema([("listing_id", pa.utf8()), ("ordinal", pa.int32()), ("photo_id", pa.utf8())])
    return pa.Table.from_pylist(rows, schema=schema)


def descriptor(photo_id: str, name: str, width: int) -> bytes:
    return hashlib.shake_128(f"{name} of {photo_id}".encode()).digest(width)


@pytest.fixture
def snapshot(tmp_path: Path) -> Callable[..., Snapshot]:
    return lambda rows, **options: make_snapshot(tmp_path / "store", rows, **options)
