"""Building and opening an index of 1 M listings in 2,000 categories, and pyarrow's reader and writer beside ours.

    python -m benchmarks.index_files --json results.json

A synthetic catalogue and uniform codes are put into a store (in `--root`, a temporary directory by default), then the
index is built and opened by a process of its own, three times each. The speed of building is in bytes of codes. Beside
it is what copying the same bytes takes with the same store, since a store that syncs to disk is part of the time.
pyarrow then opens and checks the very file, and writes its batches anew.
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
        found: dict[str, list[dict[str, float]]] = {step: [] for step in STEPS}
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
    """Ours: opening checks all metadata; then every partition, whose rows are checked when it is first used."""
    path, before = segment_path(root), status("RssAnon")
    clock = Clock()
    snapshot = IndexSnapshot.open_files([path])
    opened, after = clock.lap(""), status("RssAnon")
    for category in snapshot.categories:
        snapshot.partitions(category)
    then = clock.lap("rows checked ")
    return {**opened, "anonymous MB": after - before, **then, "then anonymous MB": status("RssAnon") - before}


def pyarrow_step(root: Path, curated: str, extraction: str) -> dict[str, float]:
    """pyarrow's reader: opening reads the footer; then all batches, validated in full as ours are."""
    path, before = segment_path(root), status("RssAnon")
    clock = Clock()
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    opened = clock.lap("")
    batches = [file.get_batch(i) for i in range(file.num_record_batches)]
    for batch in batches:
        batch.validate(full=True)
    then = clock.lap("rows checked ")
    return {**opened, **then, "then anonymous MB": status("RssAnon") - before}


class Clock:
    """Milliseconds since it was made, or since the last lap: of the wall, and of this process's CPU time."""

    def __init__(self) -> None:
        self._last = time.perf_counter(), time.process_time()

    def lap(self, what: str) -> dict[str, float]:
        now = time.perf_counter(), time.process_time()
        wall, cpu = ((b - a) * 1e3 for a, b in zip(self._last, now, strict=True))
        self._last = now
        return {f"{what}ms": wall, f"{what}cpu-ms": cpu}


def writer_step(root: Path, curated: str, extraction: str) -> dict[str, float]:
    """pyarrow's writer: how long, how large, and how many buffers begin on a cache line."""
    path, copy = segment_path(root), root / "again.arrow"
    file = pa.ipc.open_file(pa.memory_map(str(path)))
    batches = [file.get_batch(i) for i in range(file.num_record_batches)]
    started = time.perf_counter()
    with pa.OSFile(str(copy), "wb") as sink, pa.ipc.new_file(sink, file.schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    wall = time.perf_counter() - started
    again = pa.ipc.open_file(pa.memory_map(str(copy)))
    codes = [again.get_batch(i)["code"].buffers()[1].address for i in range(again.num_record_batches)]
    size = copy.stat().st_size
    copy.unlink()
    return {
        "MB/s": size / 1e6 / wall,
        "size of ours": size / path.stat().st_size,
        "codes on a cache line": sum(address % 64 == 0 for address in codes) / len(codes),
    }


def segment_path(root: Path) -> Path:
    store = DirectoryStore(root / "store")
    entry = read_manifest(store, Ref.parse((root / "built").read_text())).files[0]
    return store.root / entry.key


def status(field: str) -> float:
    """A line of /proc/self/status in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(field))


STEPS = {
    "build": build_step,
    "copy": copy_step,
    "open": open_step,
    "pyarrow": pyarrow_step,
    "pyarrow writes": writer_step,
}

if __name__ == "__main__":
    main()
