"""What a curation of many listings costs by step: seconds and memory, with photos of a small pool.

    python -m benchmarks.rows --listings 1000000 --root /var/tmp --json rows.json

A catalogue of that many rows, one listing each, with title, price, product, seller, page and an aspect, in 200 leaf
categories, not in the order of ids. Its photos are 4,000 blots of colour, made once, so that what is measured is the
work on rows; ten products share each, since more would make it a stock photo. It is curated three times, each time in a
process of its own: as it is; unchanged; and with the prices of 10 listings changed. Memory is what the process holds
that is of no file (RssAnon, looked up a hundred times a second): when a step has ended, and the most during it. Pages
of files come and go with what memory the machine has. `--limit` has the system refuse a process more than so many GiB
of memory of its own (RLIMIT_DATA, which also counts what was asked for and never used).
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.growth import photo
from benchmarks.report import Entry, machine, write
from lookalike.catalogue import curation
from lookalike.catalogue.rules import CurationConfig
from lookalike.progress import silent
from lookalike.storage.directory import DirectoryStore

CATEGORIES, POOL = 200, 4_000
COLOURS = ("red", "blue", "green", "black", "white", "red|white", "Blue", "grey")
STEPS = ("read_catalogue", "take_in", "examine", "_compared", "assemble", "_page", "_write")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listings", type=int, default=100_000)
    parser.add_argument("--root", type=Path, help="where the catalogue and the store are made")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--once", action="store_true", help="as it is, and no more")
    parser.add_argument("--limit", type=float, help="GiB of memory that a process may ask for")
    parser.add_argument("--step", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        if options.limit:
            resource.setrlimit(resource.RLIMIT_DATA, (int(options.limit * 2**30),) * 2)
        print(json.dumps(step(options.step)))
        return
    with TemporaryDirectory(dir=options.root) as directory:
        folder = Path(directory)
        found = {}
        for name, changed in (("first", 0), ("unchanged", 0), ("10 changed", 10))[: 1 if options.once else 3]:
            offer(folder / "shop", options.listings, changed)
            command = [sys.executable, "-m", "benchmarks.rows", "--step", str(folder)]
            command += ["--limit", str(options.limit)] if options.limit else []
            found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            print(name, json.dumps(found[name]), file=sys.stderr, flush=True)
    write(options.json, machine(), list(entries(found, options.listings)), listings=options.listings)


def offer(shop: Path, listings: int, changed: int) -> None:
    """Write the catalogue, and its photos where they are not there yet."""
    shop.mkdir(exist_ok=True)
    for number in range(POOL):
        if not (path := shop / f"{number}.jpg").exists():
            path.write_bytes(photo(path.name))
    order = np.random.default_rng(0).permutation(listings).tolist()
    with (shop / "listings.csv").open("w", newline="") as file:
        table = csv.writer(file)
        names = "listing_id,image,category,price,title,product,seller,url,aspect_colour"
        table.writerow(names.split(","))
        for number in order:
            table.writerow(
                (
                    f"L{number:08d}",
                    f"{number % POOL}.jpg",
                    f"things/kind-{number % CATEGORIES:03d}",
                    "1.00" if number < changed else f"{5 + number % 90}.90",
                    f"Thing no. {number} of the finest make, as new",
                    f"P{number % POOL}-{number // POOL % 10}",
                    f"S{number % 9_973}",
                    f"https://shop.example/things/{number}",
                    COLOURS[number % len(COLOURS)],
                )
            )


def step(folder: Path) -> dict[str, Any]:
    """One curation: seconds and memory of each of its steps, and of all."""
    told: dict[str, Any] = {}
    watch = Watch()
    watch.start()
    for name in STEPS:
        setattr(curation, name, _told(name, getattr(curation, name), told, watch))
    store = DirectoryStore(folder / "store")
    began = time.monotonic()
    uri = str(folder / "shop" / "listings.csv")
    curation.curate(store, uri, CurationConfig(), cache_dir=folder / "cache", progress=silent)
    took = {"seconds": time.monotonic() - began, "cpu_s": time.process_time()}
    told["all"] = took | {"held_mb": held_mb(), "peak_mb": watch.most}
    return told


def _told(name: str, work: Callable[..., Any], told: dict[str, Any], watch: Watch) -> Callable[..., Any]:
    def timed(*given: Any, **named: Any) -> Any:
        began, cpu = time.monotonic(), time.process_time()
        watch.lately = held_mb()
        try:
            return work(*given, **named)
        finally:
            took = {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu}
            told[name.strip("_")] = took | {"held_mb": held_mb(), "peak_mb": watch.lately}

    return timed


class Watch(threading.Thread):
    """Looks up the memory that this process holds, as long as it lives."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most = self.lately = held_mb()

    def run(self) -> None:
        while True:
            now = held_mb()
            self.most, self.lately = max(self.most, now), max(self.lately, now)
            time.sleep(0.01)


def held_mb() -> float:
    """Memory of this process that is of no file."""
    return int(Path("/proc/self/status").read_text().partition("RssAnon:")[2].split()[0]) / 1024


def entries(found: dict[str, dict[str, Any]], listings: int) -> list[Entry]:
    units = {"seconds": "s", "cpu_s": "s", "held_mb": "MB", "peak_mb": "MB"}
    return [
        Entry(f"{listings:,} listings, {name}, {step}: {what}", value, units[what], "lower")
        for name, steps in found.items()
        for step, values in steps.items()
        for what, value in values.items()
    ]


if __name__ == "__main__":
    main()
