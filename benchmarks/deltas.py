"""What a change costs: from changed tables to searchable, and searches over deltas beside a full build.

    python -m benchmarks.deltas WORKDIR --rows 100000 1000000
    python -m benchmarks.deltas WORKDIR --rows 30000 100000 --memory

The catalogue is made here: listings of 200 categories with random codes of 4096 bits, prices, brands and titles, one
photo each (no photo exists: codes are random, so this says nothing of how good hits are). Ten listings change: five
prices, two sold, two new, one with a new photo. Measured are: comparing both curated snapshots, building the delta,
publishing its reference, opening it in a process that serves the base already, the bytes that this process fetches,
and p50 of one query over the five largest categories with 0, 1 and 8 deltas, beside a full build of the same state.
With `--memory`, instead: CPU time and highest RssAnon of a process of its own that makes the delta, and of one that
makes the full build; what it had before is taken off.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import resource
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.report import entries, machine, write
from lookalike.index.builder import build
from lookalike.index.generation import Generation, read_generation
from lookalike.index.hamming import Scanner
from lookalike.ingest.deltas import build_delta
from lookalike.ingest.difference import Difference, State, compare
from lookalike.publishing import live_ref
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import Wanted
from lookalike.ranking.local import MappedListings, map_listings
from lookalike.serving.copies import Copies
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, read_manifest
from lookalike.storage.directory import DirectoryStore

BITS, CATEGORIES, CHANGED = 4096, 200, 10
SHARD_ROWS = 65_536
QUERIES = 200
T = TypeVar("T")


class FarStore(DirectoryStore):
    """A store whose files are not on this machine; counts what leaves it."""

    fetched = 0

    def local_path(self, key: str) -> None:
        return None

    def download(self, key: str, path: Path) -> None:
        super().download(key, path)
        self.fetched += path.stat().st_size

    def get(self, key: str, *, start: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, start=start, length=length)
        self.fetched += len(data)
        return data


@dataclass
class Catalogue:
    """Listings as columns; the code of photo i is row i of `codes`."""

    photo: np.ndarray
    category: np.ndarray
    price: np.ndarray
    listing: np.ndarray

    def table(self) -> pa.Table:
        n = len(self.listing)
        texts = [f"L{i:09d}" for i in self.listing.tolist()]
        return pa.table(
            {
                "listing_id": pa.array(texts, pa.utf8()),
                "photo_id": pa.array([photo_id(i) for i in self.photo.tolist()], pa.utf8()),
                "category": pa.array([f"category/{c:03d}" for c in self.category.tolist()], pa.utf8()),
                "split": pa.array(["train"] * n, pa.utf8()),
                "title": pa.array(
                    [f"Listing {i} of the catalogue" for i in self.listing.tolist()], pa.utf8()
                ),
                "price": pa.array(self.price),
                "group": pa.array(texts, pa.utf8()),
                "aspect_brand": pa.array([[f"brand {i % 500}"] for i in self.listing.tolist()]),
            }
        )


def photo_id(number: int) -> str:
    return f"{number:032x}"


def first_catalogue(rows: int) -> Catalogue:
    rng = np.random.default_rng(1)
    share = 1 / np.arange(1, CATEGORIES + 1)  # as shops are: few large categories, many small ones
    category = rng.choice(CATEGORIES, rows, p=share / share.sum())
    return Catalogue(np.arange(rows), category, rng.uniform(1, 100, rows).round(2), np.arange(rows))


def change(catalogue: Catalogue, step: int, codes: int) -> Catalogue:
    """Five other prices, two sold, two new, one new photo; at places that `step` decides."""
    rng = np.random.default_rng([2, step])
    chosen = rng.choice(len(catalogue.listing), 8, replace=False)
    price, photo = catalogue.price.copy(), catalogue.photo.copy()
    price[chosen[:5]] += 1
    photo[chosen[5]] = codes + 3 * step
    kept = np.delete(np.arange(len(photo)), chosen[6:])
    new = catalogue.listing.max() + 1 + np.arange(2)
    return Catalogue(
        np.concatenate([photo[kept], codes + 3 * step + 1 + np.arange(2)]),
        np.concatenate([catalogue.category[kept], [0, CATEGORIES - 1]]),
        np.concatenate([price[kept], [9.0, 9.5]]),
        np.concatenate([catalogue.listing[kept], new]),
    )


class Shop:
    """A store with a base of random codes, live."""

    def __init__(self, root: Path, rows: int) -> None:
        self.store, self.cache, self.rows = FarStore(root / "store"), root / "cache", rows
        self.local = DirectoryStore(root / "store")
        self.release = Ref(Kind.RELEASE, "0" * 16, "0" * 64)
        self.shards: list[dict[str, object]] = []
        for start in range(0, rows, SHARD_ROWS):
            self._add_codes(np.arange(start, min(start + SHARD_ROWS, rows)))
        self.catalogue = first_catalogue(rows)
        state = self.curate(self.catalogue)
        self.generation = Generation(build(self.local, state.curated, state.extraction, cache_dir=self.cache))
        live_ref.publish(self.local, self.release, self.generation.base, by="benchmark", expected=None)

    def _add_codes(self, photos: np.ndarray) -> None:
        codes = np.random.default_rng([3, int(photos[0])]).integers(
            0, 256, (len(photos), BITS // 8), np.uint8
        )
        fixed = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(BITS // 8), len(photos), [None, pa.py_buffer(codes)]
        )
        data = parquet(
            pa.table({"photo_id": pa.array([photo_id(i) for i in photos.tolist()]), "code": fixed}),
            plain=True,
        )
        sha256 = hashlib.sha256(data).hexdigest()
        key = keys.code_shard(self.release.id, sha256)
        self.local.put(key, data)
        self.shards.append({"key": key, "sha256": sha256, "size": len(data), "rows": len(photos)})

    def curate(self, catalogue: Catalogue) -> State:
        """Curated snapshot and extraction, as curation and extraction leave them."""
        data = parquet(catalogue.table())
        digest = hashlib.sha256(data).hexdigest()
        writer = ArtefactWriter(self.local, Kind.CURATED, inputs={"catalogue": digest}, config={})
        writer.add("listings.parquet", data)
        curated = writer.commit()
        inputs = {"curated": str(curated), "release": str(self.release)}
        writer = ArtefactWriter(self.local, Kind.EXTRACTION, inputs=inputs, config={})
        writer.add("shards.json", json.dumps({"shards": self.shards}).encode())
        preset = {"name": "random", "resize": 64, "crop": 56, "mean": [0.5] * 3, "std": [0.2] * 3}
        meta = {"release": str(self.release), "bits": BITS, "preset": preset, "undecodable": []}
        return State(curated, writer.commit(meta))

    def changed(self, step: int) -> State:
        """The tables after ten more changes; three photos have new codes."""
        self.catalogue = change(self.catalogue, step, self.rows)
        self._add_codes(self.rows + 3 * step + np.arange(3))
        return self.curate(self.catalogue)


def parquet(table: pa.Table, *, plain: bool = False) -> bytes:
    sink = io.BytesIO()
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False} if plain else {}
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def timed(act: Callable[[], T]) -> tuple[T, float]:
    started = time.perf_counter()
    found = act()
    return found, time.perf_counter() - started


def follow(shop: Shop, state: State) -> dict[str, float | str]:
    """Difference, delta, live ref; the seconds of each, and the bytes of the delta."""
    manifest = read_manifest(shop.local, shop.generation.tip)
    before = State.of(manifest.inputs, manifest.config)
    difference: Difference
    difference, compared = timed(lambda: compare(shop.local, before, state, shop.cache))
    tip, built = timed(
        lambda: build_delta(shop.local, shop.generation, state, difference, cache_dir=shop.cache)
    )
    shop.generation = read_generation(shop.local, tip)
    expected = live_ref.read_live(shop.local)
    _, moved = timed(
        lambda: live_ref.publish(
            shop.local,
            shop.release,
            shop.generation.base,
            by="benchmark",
            expected=expected,
            deltas=shop.generation.deltas,
        )
    )
    size = sum(entry.size for entry in read_manifest(shop.local, tip).files)
    return {
        "difference_s": compared,
        "delta_s": built,
        "live_ref_s": moved,
        "delta_bytes": size,
        "what": str(difference),
    }


def open_generation(shop: Shop, copies: Copies, before: MappedListings | None) -> MappedListings:
    """As a search process opens what the live ref names."""
    live = live_ref.read_live(shop.store)
    assert live is not None
    read_manifest(shop.store, live.live.tip)
    base, *deltas = (copies.fetch(ref) for ref in live.live.refs[1:])
    return map_listings(base, deltas=deltas, threads=1, reuse=before, prefetch=True)


def search_ms(listings: MappedListings, rounds: int = QUERIES) -> float:
    """p50 of one query over the five largest categories, top 100."""
    rng = np.random.default_rng(4)
    largest = sorted(listings.summary.rows, key=lambda c: -listings.summary.rows[c])[:5]
    seconds = []
    for _ in range(rounds):
        wanted = Wanted(rng.integers(0, 256, BITS // 8, np.uint8), tuple(largest), Filters(), 100)
        seconds.append(timed(lambda w=wanted: listings.nearest([w]))[1])  # type: ignore[misc]
    return float(np.median(seconds)) * 1e3


def same_answers(ours: MappedListings, theirs: MappedListings) -> bool:
    """Twenty queries over all categories, ids and distances."""
    rng = np.random.default_rng(5)
    wanted = [
        Wanted(rng.integers(0, 256, BITS // 8, np.uint8), tuple(ours.summary.rows), Filters(), 50)
        for _ in range(20)
    ]
    found = [
        [(c.listing_ids(), c.distance.tolist()) for c in each.nearest(wanted)] for each in (ours, theirs)
    ]
    return found[0] == found[1] and ours.summary.rows == theirs.summary.rows


def measure(root: Path, rows: int) -> dict[str, object]:
    shutil.rmtree(root, ignore_errors=True)
    shop = Shop(root, rows)
    copies = Copies(shop.store, root / "pod")
    served, opened = timed(lambda: open_generation(shop, copies, None))
    report: dict[str, object] = {"rows": rows, "open_base_s": opened, "search_0_deltas_ms": search_ms(served)}
    state, tables = timed(lambda: shop.changed(0))
    followed = follow(shop, state)
    shop.store.fetched = 0
    base_before = served
    served, opened = timed(lambda: open_generation(shop, copies, base_before))
    report |= followed | {"write_tables_s": tables, "open_delta_s": opened, "pod_bytes": shop.store.fetched}
    report["live_ref_bytes"] = len(shop.local.get(keys.LIVE_REF))
    report["to_searchable_s"] = opened + sum(
        float(followed[f"{n}_s"]) for n in ("difference", "delta", "live_ref")
    )
    report["search_1_delta_ms"] = search_ms(served)
    import lookalike.ingest.deltas as merging

    merging._ABSORB = -1  # none is taken up, so that eight come together
    for step in range(1, 8):
        state = shop.changed(step)
        follow(shop, state)
    served, opened = timed(lambda: open_generation(shop, copies, served))
    report |= {"deltas": len(shop.generation.deltas), "open_7_more_s": opened}
    report["search_8_deltas_ms"] = search_ms(served)
    whole, seconds = timed(lambda: build(shop.local, state.curated, state.extraction, cache_dir=shop.cache))
    built = copies.fetch(whole)
    full = map_listings(built, threads=1, reuse=None, prefetch=True)
    report |= {"full_build_s": seconds, "full_bytes": sum(e.size for e in built.manifest.files)}
    report["search_full_build_ms"] = search_ms(full)
    report["search_8_deltas_again_ms"] = search_ms(served)
    report["same_answers"] = same_answers(served, full)
    report["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return report


def measure_memory(root: Path, rows: int) -> dict[str, object]:
    shutil.rmtree(root, ignore_errors=True)
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        made = pool.apply(_changed, (root, rows))
        return {what: pool.apply(_alone, (root, what, *made)) for what in ("delta", "base")}


def _changed(root: Path, rows: int) -> tuple[Generation, State]:
    shop = Shop(root, rows)
    return shop.generation, shop.changed(0)


def _alone(root: Path, what: str, generation: Generation, state: State) -> dict[str, float]:
    """Make a delta or a base in this process; its CPU seconds, and the MB that it had at most beyond its own."""
    store, cache, highest, over = DirectoryStore(root / "store"), root / "cache", [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            highest.append(max(highest.pop(), _anonymous_mb()))

    before = _anonymous_mb()
    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.process_time()
    if what == "delta":
        manifest = read_manifest(store, generation.tip)
        difference = compare(store, State.of(manifest.inputs, manifest.config), state, cache)
        build_delta(store, generation, state, difference, cache_dir=cache)
    else:
        build(store, state.curated, state.extraction, cache_dir=cache)
    seconds = time.process_time() - began
    over.set()
    watcher.join()
    return {"cpu_s": seconds, "own_mb": before, "more_mb": highest[0] - before}


def _anonymous_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--memory", action="store_true", help="measure memory, and nothing else")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    Scanner(1)
    results = {}
    for rows in options.rows:
        measured = measure_memory if options.memory else measure
        results[f"{rows} rows"] = measured(options.workdir / str(rows), rows)
        shutil.rmtree(options.workdir / str(rows))
    write(options.json, before, list(entries(results, {}, {})), changed=CHANGED)


if __name__ == "__main__":
    main()
