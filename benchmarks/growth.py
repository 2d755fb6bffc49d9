"""What a changed catalogue costs, step by step: photo reads, decodes, bytes moved, seconds, CPU and peak memory.

    python -m benchmarks.growth --listings 10000 --release STORE --json growth.json
    python -m benchmarks.growth --listings 1000000 --release STORE --pool 20000
    python -m benchmarks.growth --listings 1000000 --release STORE --after-curation

A catalogue of that many listings, one photo each, in 40 leaf categories; photos are JPEGs of 96 x 96 pixels and some
2 kB, blots of colour from a seed, so that each is another one. It is curated four times, each time in a process of its
own: as it is; unchanged; with 10 listings changed (4 have new photos, 3 new prices, 3 are sold); and with 10 more, each
with a new photo. Reads are counted as the process opens photos (`sys.addaudithook`), decodes as the log gains rows.
`--without-looks` doubts no labels by looks, as in catalogues of more than 30,000 photos. With `--pool` so many photos
are shared by all listings, each by those of one category, since a million take hours to take in.

With `--release`, a store in which a model release is live, each curation is followed by extraction, a re-index and
what a search pod fetches then. Each step is a process on a machine that has nothing yet, as a Job has; the pod alone
keeps what it fetched. The store gives its objects away as a bucket does, and bytes that are fetched and written are
counted by what they are of. The first codes are random, since making them takes hours and says nothing here; those of
new photos are the release's own. With `--after-curation` the tables of the snapshots are written here as curation
leaves them, and name packs of which only that of the new photos exists, so that a step which touched another would
fail.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.growth_tables import copy_release, photo, put_codes, write_tables
from benchmarks.report import Entry, machine, write
from lookalike.catalogue import suspects
from lookalike.catalogue.curation import curate
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.rules import CurationConfig
from lookalike.coding.extraction import extract
from lookalike.index.generation import read_generation
from lookalike.ingest.refresh import refresh
from lookalike.progress import silent
from lookalike.publishing.live_ref import publish, read_live
from lookalike.serving.copies import Copies
from lookalike.settings import available_cores
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.directory import DirectoryStore

CATEGORIES = 40


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--listings", type=int, default=10_000)
    parser.add_argument("--root", type=Path, help="where the catalogue and the store are made")
    parser.add_argument("--release", help="a store whose live model release makes the codes")
    parser.add_argument("--after-curation", action="store_true", help="steps after curation alone")
    parser.add_argument(
        "--pool", type=int, help="photos of all listings, a multiple of 40; else each has its own"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--without-looks", action="store_true", help="as with more than 30,000 photos")
    parser.add_argument("--step", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.without_looks:
        suspects.MOST_PHOTOS = 0
    if options.step:
        name, folder, *given = options.step
        print(json.dumps(step(name, Path(folder), *given)))
        return
    with TemporaryDirectory(dir=options.root) as directory:
        found = measure(Growth(Path(directory), options.without_looks), options)
    write(options.json, machine(), list(entries(found, options.listings)), listings=options.listings)


def measure(shop: Growth, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Every step of every state of the catalogue."""
    curated = shop.tabulate if options.after_curation else shop.curate
    rows = [listing(number, options.pool or options.listings) for number in range(options.listings)]
    first, release = curated(rows), ""
    if options.release:
        release = copy_release(options.release, shop.store)
        put_codes(shop.store, Ref.parse(release), Ref.parse(first["ref"]))
    found = shop.chain("first", first, release)
    if not options.after_curation:
        found |= shop.chain("unchanged", curated(rows), release)
    for number, row in enumerate(rows[:10]):
        if number < 4:
            row["image"] = f"new-{number}.jpg"
        else:
            row["price"] = "1"
    rows = rows[:7] + rows[10:]
    found |= shop.chain("10 changed", curated(rows), release)
    for number in range(10):
        more = listing(options.listings + number, options.listings + 10)
        rows.append(more | {"image": f"new-{more['image']}"})
    return found | shop.chain("10 more", curated(rows), release)


class Growth:
    """A catalogue, the store that its steps work on, and a search pod."""

    def __init__(self, folder: Path, without_looks: bool) -> None:
        self.folder, self.store = folder, Far(folder / "store")
        self.pod = Copies(Far(folder / "store"), folder / "pod")
        self._extra = ["--without-looks"] if without_looks else []
        self._parent: list[str] = []

    def curate(self, rows: list[dict[str, str]]) -> dict[str, Any]:
        """As curation does."""
        offer(self.folder, rows)
        known = described(self.store, self.folder)
        told = self.run("curate", *self._parent)
        told["decodes"] = described(self.store, self.folder) - known
        self._parent = [told["ref"]]
        return told

    def tabulate(self, rows: list[dict[str, str]]) -> dict[str, Any]:
        """The tables, without a curation."""
        return {"ref": str(write_tables(self.store, self.folder, rows))}

    def chain(self, name: str, curated: dict[str, Any], release: str) -> dict[str, dict[str, Any]]:
        """The steps after a curation."""
        found = {f"{name}, curate": curated}
        if release:
            made = found[f"{name}, extract"] = self.run("extract", curated["ref"], release)
            found[f"{name}, re-index"] = self.run("refresh", made["ref"])
            found[f"{name}, pod"] = self.serve()
        return found

    def serve(self) -> dict[str, Any]:
        """What a pod fetches as it opens what is live (`serving.snapshot.open_snapshot`), but for a photo to try."""
        store, began = Far(self.folder / "store"), time.monotonic()
        self.pod.store = store
        live = read_live(store)
        assert live is not None
        read_manifest(store, live.live.tip)
        base, *_ = (self.pod.fetch(ref) for ref in live.live.refs[1:])
        self.pod.fetch(live.live.release, ["model.json"])
        self.pod.fetch(Ref.parse(base.manifest.inputs["curated"]), ["photos.parquet"])
        return {"seconds": time.monotonic() - began} | moved(store)

    def run(self, *command: str) -> dict[str, Any]:
        """One step in a process of its own."""
        name, *given = command
        full = [sys.executable, "-m", "benchmarks.growth", *self._extra, "--step", name, str(self.folder)]
        done = subprocess.run([*full, *given], check=True, stdout=subprocess.PIPE)
        told: dict[str, Any] = json.loads(done.stdout)
        print(name, done.stdout.decode(), end="", file=sys.stderr, flush=True)
        return told


class Far(DirectoryStore):
    """A store whose objects are not on this machine; counts bytes by what they are of."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.fetched: Counter[str] = Counter()
        self.written: Counter[str] = Counter()

    def local_path(self, key: str) -> None:
        return None

    def download(self, key: str, path: Path) -> None:
        super().download(key, path)
        self.fetched[what_of(key)] += path.stat().st_size

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, start=start, length=length)
        self.fetched[what_of(key)] += len(data)
        return data

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        data, etag = super().get_with_etag(key)
        self.fetched[what_of(key)] += len(data)
        return data, etag

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        self.written[what_of(key)] += len(data)
        return super().put(key, data, if_absent=if_absent, if_match=if_match)

    def upload(self, key: str, path: Path, *, give: bool = False) -> None:
        self.written[what_of(key)] += path.stat().st_size
        super().upload(key, path, give=give)


def what_of(key: str) -> str:
    """A few words for the kind of an object."""
    if key.startswith("curated/"):
        return "tables" if key.endswith((".parquet", ".csv")) else "reports, manifests"
    if key.startswith(keys.PHOTOS):
        return "packs" if key.startswith(keys.PACKS) else "photo log"
    if key.startswith(keys.CODES):
        return "lists of codes" if key.endswith(".photos") else "codes"
    return key.split("/")[0]


def listing(number: int, photos: int) -> dict[str, str]:
    """One row of the catalogue, which has so many photos."""
    return {
        "listing_id": f"L{number:08d}",
        "image": f"{number % photos}.jpg",
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
            there.add(row["image"])
    with (shop / "listings.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def described(store: DirectoryStore, folder: Path) -> int:
    """Photos that the log knows."""
    return PhotoLog.open(store, folder / "cache", CurationConfig()).photos.num_rows


def step(name: str, folder: Path, *given: str) -> dict[str, Any]:
    """One step: seconds, CPU seconds of its process, peak memory in MB, photos that were read, bytes by kind."""
    store, cache = Far(folder / "store"), folder / f"cache-{name}"
    reads = 0

    def count(event: str, given: tuple[Any, ...]) -> None:
        nonlocal reads
        reads += event == "open" and str(given[0]).endswith(".jpg")

    sys.addaudithook(count)
    began = time.monotonic()
    refs = [Ref.parse(each) for each in given]
    if name == "curate":
        parent = refs[0] if refs else None
        uri = str(folder / "shop" / "listings.csv")
        ref = curate(store, uri, CurationConfig(), parent=parent, cache_dir=cache, progress=silent)
    elif name == "extract":
        ref = extract(store, *refs, cache_dir=cache, threads=available_cores())
    else:
        ref = reindex(store, refs[0], cache)
    told = {
        "ref": str(ref),
        "seconds": time.monotonic() - began,
        "cpu_s": time.process_time(),
        "reads": reads,
    }
    shutil.rmtree(cache, ignore_errors=True)
    return told | {"peak_mb": peak_mb()} | moved(store)


def peak_mb() -> float:
    """The most memory that this process had; `getrusage` begins with that of the process which started it."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def reindex(store: Far, extraction: Ref, cache: Path) -> Ref:
    """Make a delta or a base, and publish it."""
    live = read_live(store)
    ref = refresh(store, live.live.tip if live else None, extraction, shards=1, cache_dir=cache).ref
    generation, release = read_generation(store, ref), Ref.parse(read_manifest(store, ref).meta["release"])
    publish(store, release, generation.base, by="benchmark", expected=live, deltas=generation.deltas)
    return ref


def moved(store: Far) -> dict[str, float]:
    """Bytes that a step fetched and wrote, by what they are of."""
    ways = {"fetched": store.fetched, "written": store.written}
    return {f"{way} {what}": size for way, sizes in ways.items() for what, size in sorted(sizes.items())}


def entries(found: Mapping[str, Mapping[str, Any]], listings: int) -> Iterator[Entry]:
    targets = {"unchanged": 0, "10 changed": 4, "10 more": 10}
    units = {"seconds": "s", "cpu_s": "s", "peak_mb": "MB", "reads": "count", "decodes": "count"}
    for name, values in found.items():
        for what, value in values.items():
            if what != "ref":
                target = targets.get(name.split(",")[0]) if what in ("reads", "decodes") else None
                unit = units.get(what, "B")
                yield Entry(f"{listings:,} listings, {name}: {what}", value, unit, "lower", target)


if __name__ == "__main__":
    main()
