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
) -> Snapshot:
    """`rows` listings per category, every third sharing its photo with the one before; `missing` photos lack a code."""
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
    writer = ArtefactWriter(
        store, Kind.CURATED, inputs={"catalogue": f"{seed}"}, config={"rows": rows, "n": n}
    )
    writer.add("listings.parquet", parquet(listings))
    curated = writer.commit()
    photos = sorted(set(photo_ids))[missing:]
    if correlated:  # as a network's are: many bits rise and fall together
        hidden = rng.normal(size=(len(photos), 6)) @ rng.normal(size=(6, bits)) + rng.normal(size=bits)
        codes = dict(zip(photos, np.packbits(hidden > 0, axis=1), strict=True))
    else:
        codes = {p: rng.integers(0, 256, bits // 8, np.uint8) for p in photos}
    shards = []
    for start in range(0, len(photos), shard_rows):
        names = photos[start : start + shard_rows]
        table = pa.table(
            {
                "photo_id": pa.array(names, pa.utf8()),
                "code": pa.array([codes[p].tobytes() for p in names], pa.binary(bits // 8)),
                "features16": pa.array([b"\0" * 8 for _ in names], pa.binary(8)),
            }
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
    extraction = writer.commit({"release": str(RELEASE), "bits": bits, "preset": PRESET})
    return Snapshot(store, curated, extraction, listings, codes)


@pytest.fixture
def snapshot(tmp_path: Path) -> Callable[..., Snapshot]:
    return lambda rows, **options: make_snapshot(tmp_path / "store", rows, **options)
