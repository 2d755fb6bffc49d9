"""What a changed catalogue costs: photo reads, decodes, bytes written, seconds, CPU and peak memory.

    python -m benchmarks.growth --listings 10000 --json growth.json

A catalogue of that many listings, one photo each, in 40 leaf categories; photos are JPEGs of 96 x 96 pixels and some
2 kB, blots of colour from a seed, so that each is another one. It is curated four times, each time in a process of its
own: as it is; unchanged; with 10 listings changed (4 have new photos, 3 new prices, 3 are sold); and with 10 more, each
with a new photo. Reads are counted as the process opens photos (`sys.addaudithook`), decodes as the log gains rows.
Packs, tables of the photo log and tables of snapshots are told apart by their keys. `--without-looks` doubts no labels
by looks, as in catalogues of more than 30,000 photos.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.report import Entry, machine, write
from lookalike.catalogue import suspects
from lookalike.catalogue.curation import curate
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.rules import CurationConfig
from lookalike.progress import silent
from lookalike.storage import keys
from lookalike.storage.directory import DirectoryStore

CATEGORIES = 40
SIDE = 96


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listings", type=int, default=10_000)
    parser.add_argument("--root", type=Path, help="where the catalogue and the store are made")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without-looks", action="store_true", help="as with more than 30,000 photos")
    parser.add_argument("--step", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.without_looks:
        suspects.MOST_PHOTOS = 0
    if options.step:
        print(json.dumps(step(options.step)))
        return
    with TemporaryDirectory(dir=options.root) as directory:
        folder = Path(directory)
        rows = [listing(number) for number in range(options.listings)]
        offer(folder, rows)
        extra = ["--without-looks"] if options.without_looks else []
        found = {"first": run(folder, extra), "unchanged": run(folder, extra)}
        for number, row in enumerate(rows[:10]):
            if number < 4:
                row["image"] = f"new-{number}.jpg"
            else:
                row["price"] = "1"
        rows = rows[:7] + rows[10:]
        offer(folder, rows)
        found["10 changed"] = run(folder, extra)
        rows += [listing(options.listings + number) for number in range(10)]
        offer(folder, rows)
        found["10 more"] = run(folder, extra)
    write(options.json, machine(), list(entries(found, options.listings)), listings=options.listings)


def listing(number: int) -> dict[str, str]:
    """One row of the catalogue."""
    return {
        "listing_id": f"L{number:08d}",
        "image": f"{number}.jpg",
        "category": f"things/kind-{number % CATEGORIES:02d}",
        "price": f"{5 + number % 90}.90",
        "title": f"Thing no. {number}",
    }


def offer(folder: Path, rows: list[dict[str, str]]) -> None:
    """Write the catalogue, and those of its photos that are not there yet; these lie at rest."""
    shop = folder / "shop"
    shop.mkdir(exist_ok=True)
    there = {path.name for path in shop.iterdir()}
    for row in rows:
        if row["image"] not in there:
            path = shop / row["image"]
            path.write_bytes(photo(row["image"]))
            os.utime(path, ns=(time.time_ns() - 60 * 10**9,) * 2)
    with (shop / "listings.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def photo(name: str) -> bytes:
    """A JPEG like no other."""
    blots = np.random.default_rng(list(name.encode())).integers(0, 255, (7, 8, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(blots).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(out, "JPEG", quality=80)
    return out.getvalue()


def run(folder: Path, extra: Sequence[str]) -> dict[str, float]:
    """Curate in a process of its own, and look at what it wrote."""
    store = DirectoryStore(folder / "store")
    before, known = {info.key for info in store.list()}, described(store, folder)
    command = [sys.executable, "-m", "benchmarks.growth", "--step", str(folder), *extra]
    told: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    new = [info for info in store.list() if info.key not in before]
    for name, prefix in (("packs", keys.PACKS), ("log", keys.PHOTOS), ("tables", "curated/")):
        told[f"{name}_bytes"] = sum(info.size for info in new if info.key.startswith(prefix))
    told["log_bytes"] -= told["packs_bytes"]
    told["decodes"] = described(store, folder) - known
    return told


def described(store: DirectoryStore, folder: Path) -> int:
    """Photos that the log knows."""
    return PhotoLog.open(store, folder / "cache", CurationConfig()).photos.num_rows


def step(folder: Path) -> dict[str, Any]:
    """One curation: seconds, CPU seconds of its process, peak memory in MB, photos that were read."""
    store, cache, config = DirectoryStore(folder / "store"), folder / "cache", CurationConfig()
    reads = 0

    def count(event: str, given: tuple[Any, ...]) -> None:
        nonlocal reads
        reads += event == "open" and str(given[0]).endswith(".jpg")

    sys.addaudithook(count)
    began = time.monotonic()
    curate(store, str(folder / "shop" / "listings.csv"), config, cache_dir=cache, progress=silent)
    seconds = time.monotonic() - began
    cpu = time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_s": cpu, "peak_mb": peak, "reads": reads}


def entries(found: Mapping[str, Mapping[str, float]], listings: int) -> list[Entry]:
    targets = {"unchanged": 0, "10 changed": 4, "10 more": 10}
    units = {"seconds": "s", "cpu_s": "s", "peak_mb": "MB", "reads": "count", "decodes": "count"}
    told = []
    for name, values in found.items():
        for what, value in values.items():
            target = targets.get(name) if what in ("reads", "decodes") else None
            told.append(
                Entry(f"{listings:,} listings, {name}: {what}", value, units.get(what, "B"), "lower", target)
            )
    return told


if __name__ == "__main__":
    main()
