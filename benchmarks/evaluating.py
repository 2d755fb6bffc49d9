"""What `lookalike evaluate` and the quality gate hold in memory, and what they take, as an index grows.

    make demo ARGS=--once
    python -m benchmarks.evaluating --store .demo/store --queries .demo/catalogue/queries.csv --listings 10000 1000000

The live catalogue as it is, and copies of it: other listings of other products, in the training split, each with a
photo, a code and features of its own (one bit in eight of the code is another one). Then the verb itself with these
queries, and the gate: the live release against itself on the held-out photos and its sample of the gallery, whose codes
are known. Each is a process of its own that is looked at fifty times a second: memory that is of no file (RssAnon), and
all of it (RSS), of which pages of the index are a part that the system can take back.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks.grown import open_live
from benchmarks.report import Entry, machine, write
from lookalike.catalogue.photo_store import is_shard
from lookalike.catalogue.snapshot import LISTING_PHOTOS, LISTINGS, PHOTOS, REPORT
from lookalike.coding.shards import SHARDS, code_shards, list_shards, put_table, read_shard
from lookalike.index.builder import build
from lookalike.publishing.live_ref import publish, read_live
from lookalike.quality import gate
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch, read_manifest
from lookalike.storage.directory import DirectoryStore

NAMES = {"listing_id", "photo_id", "product", "group"}
"""Columns that are other ones in a copy."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="its live release, index and catalogue are grown")
    parser.add_argument("--queries", type=Path, help="a labelled catalogue")
    parser.add_argument("--listings", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--root", type=Path, help="where the stores are made")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--gate", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.gate:
        passes(DirectoryStore(Path(options.store)))
        return
    entries: list[Entry] = []
    for listings in options.listings:
        with TemporaryDirectory(dir=options.root) as folder:
            store = grown(options.store, Path(folder), listings)
            uri, cache = ["--store", str(store.root)], str(store.root.parent / "cache")
            verb = ["-m", "lookalike", "--set", f"cache_dir={cache}", "evaluate", "--json"]
            verb += ["--catalogue", str(options.queries)]
            for name, command in (("evaluate", verb), ("gate", ["-m", "benchmarks.evaluating", "--gate"])):
                entries += [
                    Entry(f"{listings:,} listings, {name}: {what}", value, unit, "lower")
                    for what, unit, value in watched([sys.executable, *command, *uri])
                ]
    write(options.json, machine(), entries)


def watched(command: list[str]) -> list[tuple[str, str, float]]:
    """Run a process: seconds, its CPU seconds, and the most that it held."""
    began, most = time.monotonic(), {"RssAnon": 0.0, "VmRSS": 0.0}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    status = Path(f"/proc/{process.pid}/status")
    while os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        told = dict(line.split(":", 1) for line in status.read_text().splitlines())
        for name in most.keys() & told.keys():
            most[name] = max(most[name], int(told[name].split()[0]) / 1000)
        time.sleep(0.02)
    _, code, usage = os.wait4(process.pid, 0)
    if code:
        raise SystemExit(f"{' '.join(command)} failed")
    return [
        ("clock", "s", time.monotonic() - began),
        ("CPU", "s", usage.ru_utime + usage.ru_stime),
        ("RssAnon", "MB", most["RssAnon"]),
        ("RSS", "MB", most["VmRSS"]),
    ]


def passes(store: DirectoryStore) -> None:
    """The gate, of the live release against itself."""
    found = read_live(store)
    assert found is not None
    live = found.live
    inputs, cache = read_manifest(store, live.index).inputs, store.root.parent / "cache"
    curated, extraction = Ref.parse(inputs["curated"]), Ref.parse(inputs["extraction"])
    report = gate.compare(
        store, curated, live.release, live.release, cache_dir=cache, extractions=[extraction]
    )
    report.require()
    print(f"{report.queries} held-out photos", file=sys.stderr)


def grown(uri: str, folder: Path, listings: int) -> DirectoryStore:
    """A store in which so many listings are live."""
    store, cache = DirectoryStore(folder / "store"), folder / "cache"
    cache.mkdir()
    source, live, snapshot = open_live(uri, cache)
    release, extraction = live.release, Ref.parse(read_manifest(source, live.index).inputs["extraction"])
    packs = [entry for entry in snapshot.artefact.manifest.files if is_shard(entry.name)]
    for key in (
        *(entry.key for entry in (*read_manifest(source, release).files, *packs)),
        keys.manifest(Kind.RELEASE, release.id),
    ):
        store.put(key, source.get(key))
    rounds = -(-listings // snapshot.listings.num_rows)
    writer = ArtefactWriter(store, Kind.CURATED, inputs={"listings": str(listings)}, config={})
    for entry in packs:
        writer.refer(entry)
    tables = {
        LISTINGS: snapshot.listings,
        PHOTOS: snapshot.photos,
        LISTING_PHOTOS: snapshot.listing_photos,
    }
    for name, table in tables.items():
        copies = pa.concat_tables([copied(table, number) for number in range(rounds)])
        if name == LISTINGS:
            copies = copies.slice(0, listings)
        pq.write_table(copies.sort_by(copies.column_names[0]), cache / name)
        writer.add(name, cache / name)
    writer.add(REPORT, b"{}")
    curated = writer.commit()
    inputs = {"curated": str(curated), "release": str(release)}
    codes = ArtefactWriter(store, Kind.EXTRACTION, inputs=inputs, config={})
    first = [read_shard(source, shard, cache) for shard in code_shards(fetch(source, extraction, cache))]
    shards = [put_table(store, release, coded(pa.concat_tables(first), number)) for number in range(rounds)]
    codes.add(SHARDS, list_shards(shards))
    meta = read_manifest(source, extraction).meta
    extracted = codes.commit(meta | {"photos": rounds * meta["photos"]})
    publish(store, release, build(store, curated, extracted, cache_dir=cache), by="benchmark", expected=None)
    shutil.rmtree(cache)
    return store


def copied(table: pa.Table, number: int) -> pa.Table:
    """Rows under other names; the first copy is the table itself."""
    if not number:
        return table
    for name in NAMES & set(table.column_names):
        named = pc.binary_join_element_wise(table[name], f"{number:04d}", "~")
        if name == "photo_id":
            named = pa.array(
                [hashlib.md5(id.encode(), usedforsecurity=False).hexdigest() for id in named.to_pylist()]
            )
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), named)
    if "split" in table.column_names:
        train = pa.array(["train"] * table.num_rows)
        table = table.set_column(table.schema.get_field_index("split"), table.schema.field("split"), train)
    return table


def coded(shard: pa.Table, number: int) -> pa.Table:
    """The codes of copied photos: one bit in eight is another one."""
    if not number:
        return shard
    column = shard["code"].combine_chunks()
    width = column.type.byte_width
    codes = np.frombuffer(column.buffers()[1], np.uint8).reshape(-1, width)
    rng = np.random.default_rng(number)
    flips = np.bitwise_and.reduce([rng.integers(0, 256, codes.shape, np.uint8) for _ in range(3)])
    mixed = pa.FixedSizeBinaryArray.from_buffers(column.type, len(codes), [None, pa.py_buffer(codes ^ flips)])
    return copied(
        shard.set_column(shard.schema.get_field_index("code"), shard.schema.field("code"), mixed), number
    )


if __name__ == "__main__":
    main()
