"""What hashing costs and gains: codes of a trained trunk, unsupervised codes of the same features, the floats.

    lookalike run --catalogue clothing/listings.csv --store shop
    python -m benchmarks.quality --store shop --queries val --json clothing.json --plot clothing.svg

The store's newest extraction gives the features of every listing. Everything is fitted to the listings of the split
`train`, which are also the gallery; `--queries` names the split that asks, which the network never learned from. The
usual protocol has the gallery trained on; that favours whatever remembers its training, so mAP is also measured with
the rest of the queries' split as the gallery (`unseen`), of which no photo was.

Per method, number of bits and seed: mAP, precision@10, recall@100, and `features kept` (agreement with features):
of a query's ten nearest in its own category by the float features, the share that are also its ten nearest there by
code; a code that knows only categories has little of it. Milliseconds are those of one query for its 100 nearest
among `--rows` codes (our scanner) or floats (FAISS, flat), on one thread. Seeds change what a method draws and the
order it learns in, not the trunk.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from safetensors.torch import load_file
from torch import nn

from benchmarks.hashings import NARROW, SUPERVISED, UNDRAWN, UNSUPERVISED, Codes, Floats, Sample, defined, fit
from benchmarks.quality_plot import draw
from benchmarks.report import Entry, machine, write
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.release import ModelCard
from lookalike.coding.shards import read_features
from lookalike.index.hamming import Scanner
from lookalike.index.reader import Partition
from lookalike.quality.metrics import rank_relevance, ranking_quality
from lookalike.storage.artefacts import Kind, Ref, fetch, find, latest, read_manifest
from lookalike.storage.objects import ObjectStore
from lookalike.storage.stores import open_store

BITS = (512, 1024, 2048, 4096)
MEASURES = ("mAP", "precision@10", "recall@100", "features kept", "mAP unseen")
Numbers = dict[str, float]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Photos:
    """Listings of one split: features float32[n, d], labels int64[n] (-1: unknown to the model), photo ids."""

    features: Floats
    labels: Labels
    photo_ids: npt.NDArray[np.str_]

    def some(self, count: int, seed: int) -> Photos:
        """At most `count` of them, drawn by `seed`."""
        rows = np.sort(np.random.default_rng(seed).permutation(len(self.labels))[:count])
        return Photos(self.features[rows], self.labels[rows], self.photo_ids[rows])


@dataclass(frozen=True)
class Task:
    """Who asks, what is searched, and the trained category head."""

    gallery: Photos
    queries: Photos
    others: Photos
    """The gallery that was not trained on: the queries and, where only some of them ask, the rest of their split."""
    category_head: nn.Linear
    card: ModelCard


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True)
    parser.add_argument("--extraction", default=None, help="its id; the newest by default")
    parser.add_argument("--queries", default="val", help="the split that asks")
    parser.add_argument("--most-queries", type=int, default=1000)
    parser.add_argument(
        "--most-fitted", type=int, default=20_000, help="training photos that methods are fitted to"
    )
    parser.add_argument("--bits", type=int, nargs="+", default=list(BITS))
    parser.add_argument("--methods", nargs="+", default=[*UNSUPERVISED, *SUPERVISED])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30, help="of the hash layers that are trained")
    parser.add_argument("--rows", type=int, default=200_000, help="codes that one query is timed over")
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--plot", type=Path, default=None)
    options = parser.parse_args()
    before = machine(faiss=faiss.__version__, torch=torch.__version__)
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    store = open_store(options.store)
    extraction = (
        find(store, Kind.EXTRACTION, options.extraction or "") if options.extraction else newest(store)
    )
    with tempfile.TemporaryDirectory(prefix="quality-") as cache:
        task = read_task(store, extraction, options.queries, options.most_queries, Path(cache))
    results = measure(
        task,
        methods=options.methods,
        bits=options.bits,
        seeds=options.seeds,
        fitted=options.most_fitted,
        epochs=options.epochs,
    )
    times = scan_times(options.bits, task.gallery.features.shape[1], options.rows)
    data = {
        "extraction": str(extraction),
        "trunk": task.card.architecture,
        "features": task.gallery.features.shape[1],
        "gallery": len(task.gallery.labels),
        "queries": len(task.queries.labels),
        "unseen_gallery": len(task.others.labels),
        "seeds": options.seeds,
        "timed_rows": options.rows,
    }
    write(options.json, before, [*entries(results), *time_entries(times)], data=data)
    if options.plot:
        draw(results, times, options.plot)


def newest(store: ObjectStore) -> Ref:
    """The newest extraction of a store."""
    found = latest(store, Kind.EXTRACTION)
    if found is None:
        raise SystemExit(f"{store.uri} holds no extraction: run `lookalike run` or `lookalike extract` first")
    return found


def read_task(store: ObjectStore, extraction: Ref, queries: str, most: int, cache: Path) -> Task:
    """Features, labels and the category head behind an extraction."""
    manifest = read_manifest(store, extraction)
    release = fetch(store, Ref.parse(manifest.meta["release"]), cache, ["model.json", "weights.safetensors"])
    card = ModelCard.read(release.path("model.json"))
    table = CuratedSnapshot.open(store, Ref.parse(manifest.inputs["curated"]), cache).listings
    split = np.asarray(table["split"].to_pylist())
    missing = {"train", queries} - set(split)
    if missing:
        raise SystemExit(
            f"no listing is of split {', '.join(missing)}; there are {', '.join(sorted(set(split)))}"
        )
    place = {name: i for i, name in enumerate(card.categories)}
    labels = np.array([place.get(name, -1) for name in table["category"].to_pylist()])
    ids = np.asarray(table["photo_id"].to_pylist(), dtype=np.str_)

    def photos(name: str) -> Photos:
        rows = np.flatnonzero((split == name) & (labels >= 0))
        return Photos(read_features(store, extraction, ids[rows], cache), labels[rows], ids[rows])

    weights = load_file(release.path("weights.safetensors"))
    head = nn.Linear(card.features, len(card.categories))
    head.load_state_dict({name: weights[f"category_head.{name}"] for name in ("weight", "bias")})
    asking = photos(queries)
    return Task(photos("train"), asking.some(most, 0), asking, head, card)


def measure(
    task: Task, *, methods: Sequence[str], bits: Sequence[int], seeds: int, fitted: int, epochs: int
) -> dict[str, Numbers]:
    """Every measure's mean, and its standard deviation over the seeds under `± <measure>`, per method and bits."""
    results: dict[str, list[Numbers]] = {}
    truth = nearest_looks(task)
    for name, distances in floats(task).items():
        results[name] = [score(task, distances, truth)]
    drawn = task.gallery.some(fitted, 0)
    sample = Sample(drawn.features, drawn.labels, task.category_head)
    width = task.gallery.features.shape[1]
    for name in methods:
        for count in sorted({*bits, *(width >> i for i in range(4))} if name in NARROW else bits):
            for seed in range(1 if name in UNDRAWN else seeds) if defined(name, count, width) else ():
                code = fit(name, sample, count, seed, epochs)
                asked = code(task.queries.features)

                def distances(photos: Photos, code: Any = code, asked: Codes = asked) -> npt.NDArray[Any]:
                    return hamming(asked, code(photos.features))

                found = score(task, distances, truth)
                results.setdefault(f"{name} {count}", []).append(found)
                print(f"{name} {count} seed {seed}: mAP {found['mAP']:.4f}", flush=True)
    return {name: summed(runs) for name, runs in results.items()}


def floats(task: Task) -> dict[str, Callable[[Photos], npt.NDArray[Any]]]:
    """Rankings without codes: cosine of the features, plain and centred, and what knowing all categories would give."""
    centre = task.gallery.features.mean(axis=0)

    def cosine(photos: Photos) -> npt.NDArray[Any]:
        return -unit(task.queries.features) @ unit(photos.features).T

    def centred(photos: Photos) -> npt.NDArray[Any]:
        return -unit(task.queries.features - centre) @ unit(photos.features - centre).T

    def by_category(photos: Photos) -> npt.NDArray[Any]:
        return -probabilities(task, task.queries)[:, photos.labels]

    return {"floats": cosine, "floats, centred": centred, "the gallery's categories known": by_category}


def probabilities(task: Task, photos: Photos) -> Floats:
    """Of the category head, float32[n, categories]."""
    with torch.inference_mode():
        found: Floats = task.category_head(torch.from_numpy(photos.features)).softmax(dim=1).numpy()
    return found


def score(
    task: Task, distances: Callable[[Photos], npt.NDArray[Any]], looks: Sequence[npt.NDArray[np.int64]]
) -> Numbers:
    """All measures of one way to order photos; `distances` gives [queries, photos]."""
    trained = distances(task.gallery)
    relevant = task.queries.labels[:, None] == task.gallery.labels
    own = task.queries.photo_ids[:, None] == task.gallery.photo_ids
    quality = ranking_quality(rank_relevance(trained, relevant, own), (10, 100))
    same = task.queries.photo_ids[:, None] == task.others.photo_ids
    unseen = rank_relevance(distances(task.others), task.queries.labels[:, None] == task.others.labels, same)
    return {
        "mAP": quality.mean_average_precision,
        "precision@10": quality.precision_at[10],
        "recall@100": quality.recall_at[100],
        "features kept": mean(
            len(np.intersect1d(nearest_of(row, rows), rows_by_feature)) / len(rows_by_feature)
            for row, rows, rows_by_feature in zip(trained, categories(task), looks, strict=True)
        ),
        "mAP unseen": ranking_quality(unseen).mean_average_precision,
    }


def nearest_looks(task: Task, k: int = 10) -> list[npt.NDArray[np.int64]]:
    """For each query the `k` gallery rows of its category that are nearest by the centred features."""
    distances = floats(task)["floats, centred"](task.gallery)
    return [nearest_of(row, rows, k) for row, rows in zip(distances, categories(task), strict=True)]


def categories(task: Task) -> Iterator[npt.NDArray[np.int64]]:
    """For each query the gallery rows of its category."""
    rows = {
        int(label): np.flatnonzero(task.gallery.labels == label) for label in np.unique(task.queries.labels)
    }
    return (rows[int(label)] for label in task.queries.labels)


def nearest_of(
    distances: npt.NDArray[Any], rows: npt.NDArray[np.int64], k: int = 10
) -> npt.NDArray[np.int64]:
    nearest: npt.NDArray[np.int64] = rows[np.argsort(distances[rows], kind="stable")[:k]]
    return nearest


def hamming(queries: Codes, gallery: Codes) -> npt.NDArray[np.uint16]:
    """Distances uint16[queries, gallery] of packed codes, exact: sums of fewer than 2^24 in float32."""
    bits = 8 * queries.shape[1]
    asked = signs(queries)
    found = np.empty((len(queries), len(gallery)), np.uint16)
    for start in range(0, len(gallery), 4096):
        part = signs(gallery[start : start + 4096])
        found[:, start : start + len(part)] = (bits - asked @ part.T) / 2
    return found


def signs(codes: Codes) -> Floats:
    return np.unpackbits(codes, axis=1).astype(np.float32) * 2 - 1


def unit(features: Floats) -> Floats:
    normal: Floats = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return normal


def summed(runs: Sequence[Numbers]) -> Numbers:
    spread = {f"± {name}": stdev(run[name] for run in runs) for name in runs[0]} if len(runs) > 1 else {}
    return {name: mean(run[name] for run in runs) for name in runs[0]} | spread


def scan_times(bits: Sequence[int], width: int, rows: int) -> dict[str, float]:
    """Milliseconds of one query for its 100 nearest of `rows`: codes by our scanner, floats by FAISS.

    The scanner reads words of 64 bits; other codes have no time.
    """
    rng = np.random.default_rng(0)
    scanner, times = Scanner(1), {}
    names = pa.array([f"{i:08d}" for i in range(rows)])
    for count in (count for count in bits if count % 64 == 0):
        codes = rng.integers(0, 256, (rows, count // 8), np.uint8)
        part = Partition("all", codes, names, names, names, np.zeros(rows), {})
        asked = rng.integers(0, 256, (1, count // 8), np.uint8)
        times[f"codes {count}"] = median_ms(lambda asked=asked, part=part: scanner.top_k(asked, [part], 100))
    flat = faiss.IndexFlatIP(width)
    flat.add(rng.standard_normal((rows, width), np.float32))
    asked = rng.standard_normal((1, width), np.float32)
    times["floats"] = median_ms(lambda: flat.search(asked, 100))
    return times


def median_ms(act: Callable[[], object], times: int = 15) -> float:
    act()
    found = []
    for _ in range(times):
        start = time.perf_counter()
        act()
        found.append(1000 * (time.perf_counter() - start))
    return median(found)


def entries(results: Mapping[str, Numbers]) -> Iterator[Entry]:
    for name, numbers in results.items():
        for measure_name, value in numbers.items():
            better: Any = "lower" if measure_name.startswith("±") else "higher"
            yield Entry(f"{name}: {measure_name}", value, "fraction", better, peer="floats: mAP")


def time_entries(times: Mapping[str, float]) -> Iterator[Entry]:
    for name, value in times.items():
        yield Entry(f"{name}: one query", value, "ms", "lower", peer="floats: one query")


if __name__ == "__main__":
    main()
