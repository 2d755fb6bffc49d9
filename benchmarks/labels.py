"""Wrong labels that are found, of 200 that are planted among real ones.

    python -m benchmarks.labels --store URI [--json FILE]

The store holds an extraction of clothing by the recipe `frozen`: `lookalike run --catalogue clothing/listings.csv
--column seller=sender_id --recipe frozen`. Its network has never seen a label of these photos, so labels can be planted
afterwards. 200 listings get another category: any (*uniform*), or one that the photos are taken for most (*near*).
Means of three seeds. What else is found counts as false, though the data's own labels are not all right: of 200 that
its makers looked at two were wrong and 15 could be argued.

Confident learning (Northcutt et al., JAIR 2021) stands beside, on the same scores: a label is wrong where another
category reaches the mean score of its own listings, and more than the stated one does.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.report import Entry, machine, write
from lookalike.coding.shards import read_features
from lookalike.quality import doubts
from lookalike.storage.artefacts import Kind, Ref, fetch, latest, read_manifest
from lookalike.storage.stores import open_store

PLANTED, SEEDS = 200, 3
RECALL, PRECISION = 0.6, 0.5
_BLOCK = 1024


def load(uri: str, cache: Path) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64], int]:
    """Features f32[n, width], labels, what shows one thing, and the number of categories."""
    store = open_store(uri)
    extraction = latest(store, Kind.EXTRACTION)
    assert extraction is not None, f"{uri} holds no extraction"
    inputs = read_manifest(store, extraction).inputs
    recipe = read_manifest(store, Ref.parse(inputs["release"])).config["recipe"]
    assert recipe.get("frozen"), "the network has learned these labels; use the recipe frozen"
    path = fetch(store, Ref.parse(inputs["curated"]), cache, ["listings.parquet"]).path("listings.parquet")
    table = pq.read_table(path, columns=["photo_id", "category", "group"])
    features = read_features(store, extraction, table["photo_id"].to_pylist(), cache)
    names, labels = np.unique(table["category"].to_pylist(), return_inverse=True)
    _, things = np.unique(table["group"].to_pylist(), return_inverse=True)
    return features, labels.astype(np.int64), things.astype(np.int64), len(names)


def planted(
    labels: NDArray[np.int64], categories: int, taken_for: NDArray[np.float64] | None, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Labels of which some are wrong, and which these are."""
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(labels), PLANTED, replace=False)
    changed = labels.copy()
    for row in wrong:
        chance = np.ones(categories) if taken_for is None else taken_for[labels[row]].copy()
        chance[labels[row]] = 0
        changed[row] = rng.choice(categories, p=chance / chance.sum())
    mask = np.zeros(len(labels), bool)
    mask[wrong] = True
    return changed, mask


def confident(said: doubts.Doubts, labels: NDArray[np.int64], categories: int) -> NDArray[np.bool_]:
    """Which labels confident learning takes for wrong."""
    usual = np.array([said.stated[labels == category].mean() for category in range(categories)])
    other = said.stated + said.margin
    found: NDArray[np.bool_] = (other >= usual[said.best]) & (said.margin > 0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--cache", type=Path, default=Path(".lookalike-benchmark"))
    options = parser.parse_args()
    features, labels, things, categories = load(options.store, options.cache)

    def judged(labels: NDArray[np.int64]) -> doubts.Doubts:
        rows = np.arange(len(labels))
        blocks = [
            (rows[at : at + _BLOCK], features[at : at + _BLOCK]) for at in range(0, len(labels), _BLOCK)
        ]
        return doubts.find_doubts(lambda: blocks, labels, things, categories)

    clean = judged(labels)
    taken_for = np.full((categories, categories), 0.01)
    np.add.at(taken_for, (labels, clean.best), 1)
    entries = [
        Entry("listings", float(len(labels)), "", "higher"),
        Entry(
            "doubted before anything is planted", float((clean.margin > doubts.CLEARLY).sum()), "", "lower"
        ),
    ]
    for kind, chance in (("uniform", None), ("near", taken_for)):
        rows: dict[str, list[tuple[float, float]]] = {}
        began = time.process_time()
        for seed in range(SEEDS):
            changed, wrong = planted(labels, categories, chance, seed)
            said = judged(changed)
            for name, found in (
                ("ours", said.margin > doubts.CLEARLY),
                ("confident learning", confident(said, changed, categories)),
            ):
                right = (found & wrong).sum()
                rows.setdefault(name, []).append((right / PLANTED, right / max(1, found.sum())))
        for name, values in rows.items():
            recall, precision = np.mean(values, axis=0)
            ours = name == "ours"
            entries += [
                Entry(f"{kind}: recall, {name}", recall, "", "higher", RECALL if ours else None),
                Entry(f"{kind}: precision, {name}", precision, "", "higher", PRECISION if ours else None),
            ]
        entries.append(
            Entry(f"{kind}: cpu seconds each", (time.process_time() - began) / SEEDS, "s", "lower")
        )
    write(options.json, machine(), entries)


if __name__ == "__main__":
    main()
