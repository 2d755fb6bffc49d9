"""Building and opening an index of 1 M listings in 2,000 categories: throughput, time, memory.

    python -m benchmarks.index_files --json results.json

A synthetic catalogue and uniform codes are put into a store (in `--root`, a temporary directory by default), then the
index is built and opened by a process of its own, three times each. The speed of building is in bytes of codes; beside
it is what copying the same bytes takes with the same store, since a store that syncs to disk is part of the time.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import Entry, machine, write
from lookalike.index.builder import build
from lookalike.index.reader import IndexSnapshot
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, read_manifest
from lookalike.storage.directory import DirectoryStore

RELEASE = Ref(Kind.RELEASE, "0123456789abcdef", "ab" * 32)
WIDTH = 512
SHARD_ROWS = 65536


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--categories", type=int, default=2000)
    parser.add_argument("--root", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step", nargs=3, metavar=("STEP", "CURATED", "EXTRACTION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        step, *refs = options.step
        print(json.dumps(STEPS[step](options.root, *refs)))
        return
    with TemporaryDirectory(dir=options.root) as directory:
        root = Path(directory)
        curated, extraction = fill(DirectoryStore(root / "store"), options.rows, options.categories)
        found: dict[str, list[dict[str, float]]] = {"build": [], "copy": [], "open": []}
        for _ in range(3):
            shutil.rmtree(root / "store" / "index", ignore_errors=True)
            for step, values in found.items():
                command = [
                    sys.executable,
                    "-m",
                    "benchmarks.index_files",
                    "--root",
                    str(root),
                    "--step",
                    step,
                ]
                reply = subprocess.run(
                    [*command, str(curated), str(extraction)], check=True, capture_output=True, text=True
                )
                values.append(json.loads(reply.stdout))
    medians = {
        f"{step} {key}": statistics.median(run[key] for run in runs)
        for step, runs in found.items()
        for key in runs[0]
    }
    targets = {"build MB/s": 150.0, "open ms": 100.0, "open anonymous MB": 50.0}
    results = [
        Entry(
            name,
            value,
            name.rsplit(" ", 1)[1],
            "higher" if "/" in name else "lower",
            targets.get(name),
        )
        for name, value in medians.items()
    ]
    write(options.json, machine(), results, rows=options.rows)


def fill(store: DirectoryStore, rows: int, categories: int) -> tuple[Ref, Ref]:
    """A curated snapshot of `rows` listings, unevenly spread over the categories, and its code shards."""
    rng = np.random.default_rng(0)
    weights = rng.lognormal(0, 1, categories)
    category = rng.choice(categories, rows, p=weights / weights.sum())
    photos = np.array([hashlib.md5(b"%d" % i).hexdigest() for i in range(rows)])
    listings = pa.table(
        {
            "listing_id": pa.array([f"L{i:09d}" for i in range(rows)]),
            "photo_id": pa.array(photos),
            "category": pa.array([f"top{c % 20}/middle{c % 100}/leaf{c:05d}" for c in category.tolist()]),
            "split": pa.array(["train"] * rows),
            "price": pa.array(rng.random(rows) * 100),
            "group": pa.array(photos),
            "aspect_brand": pa.array([[f"b{i % 1000}"] for i in range(rows)]),
            "aspect_color": pa.array([["red"] if i % 4 else None for i in range(rows)], pa.list_(pa.utf8())),
        }
    )
    writer = ArtefactWriter(store, Kind.CURATED, inputs={}, config={"rows": rows})
    writer.add("listings.parquet", parquet(listings))
    curated = writer.commit()
    order, shards = rng.permutation(rows), []
    for start in range(0, rows, SHARD_ROWS):
        mine = order[start : start + SHARD_ROWS]
        codes = pa.py_buffer(rng.integers(0, 256, (len(mine), WIDTH), np.uint8))
        code = pa.FixedSizeBinaryArray.from_buffers(pa.binary(WIDTH), len(mine), [None, codes])
        data = parquet(pa.table({"photo_id": pa.array(photos[mine]), "code": code}))
        digest = hashlib.sha256(data).hexdigest()
        key = keys.code_shard(RELEASE.id, digest)
        store.put(key, data)
        shards.append({"key": key, "sha256": digest, "size": len(data), "rows": len(mine)})
    writer = ArtefactWriter(store, Kind.EXTRACTION, inputs={"curated": str(curated)}, config={})
    writer.add("shards.json", json.dumps({"shards": shards}).encode())
    meta = {"release": str(RELEASE), "bits": WIDTH * 8, "preset": {"name": "benchmark"}}
    return curated, writer.commit(meta)


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    return sink.getvalue()


def build_step(root: Path, curated: str, extraction: str) -> dict[str, float]:
    store = DirectoryStore(root / "store")
    started, used = time.perf_counter(), time.process_time()
    ref = build(store, Ref.parse(curated), Ref.parse(extraction), cache_dir=root / "cache")
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    (root / "built").write_text(str(ref))
    size = read_manifest(store, ref).meta["rows"] * WIDTH / 1e6
    return {"MB/s": size / wall, "MB/cpu-s": size / cpu, "peak anonymous MB": status("RssAnon")}


def copy_step(root: Path, curated: str, extraction: str) -> dict[str, float]:
    """Store the finished segment once more under another key: the least that any builder needs."""
    store = DirectoryStore(root / "store")
    entry = read_manifest(store, Ref.parse((root / "built").read_text())).files[0]
    path = store.local_path(entry.key)
    assert path is not None
    started = time.perf_counter()
    store.upload("copy/segment.arrow", path)
    wall = time.perf_counter() - started
    store.delete("copy/segment.arrow")
    return {"MB/s": entry.size / 1e6 / wall}


def open_step(root: Path, curated: str, extraction: str) -> dict[str, float]:
    store = DirectoryStore(root / "store")
    manifest = read_manifest(store, Ref.parse((root / "built").read_text()))
    paths = [store.root / entry.key for entry in manifest.files]
    before, started = status("RssAnon"), time.perf_counter()
    snapshot = IndexSnapshot.open_files(paths)
    wall = time.perf_counter() - started
    after = status("RssAnon")
    assert len(snapshot) == manifest.meta["rows"]
    started = time.perf_counter()
    snapshot.prefetch()
    return {
        "ms": wall * 1e3,
        "anonymous MB": after - before,
        "prefetch ms": (time.perf_counter() - started) * 1e3,
    }


def status(field: str) -> float:
    """A line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(field))


STEPS = {"build": build_step, "copy": copy_step, "open": open_step}

if __name__ == "__main__":
    main()
