"""What the asymmetric re-score gains at each length of code: precision@10 with and without it.

    python -m benchmarks.rescoring --store file:///tmp/clothing --split val --json results.json

The live release encodes the photos of a split; shorter codes are bits drawn at random from its own, the same for
queries and gallery, three draws each. The nearest 300 listings by Hamming distance are taken in that order or
re-scored; right is a listing of the query's category, and a query's own photo does not count. No routing, no aspects.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import entries, machine, write
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.codes import hamming, pack, unpack
from lookalike.coding.encoder import open_encoder
from lookalike.imaging import photos
from lookalike.index.reader import IndexSnapshot
from lookalike.publishing.live_ref import read_live
from lookalike.ranking.rescoring import Rescorer, bit_probabilities
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore
from lookalike.storage.stores import open_store

LENGTHS = (32, 64, 128, 256, 1024)
CANDIDATES, SHOWN, DRAWS, BATCH = 300, 10, 3, 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="a store with something live")
    parser.add_argument("--split", default="val", help="the listings that are asked about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    store = open_store(options.store)
    with tempfile.TemporaryDirectory() as cache:
        results, data = measure(store, options.split, options.seed, Path(cache))
    peers = {f"{bits}: rescored_precision": f"{bits}: by_distance_precision" for bits in results}
    write(options.json, before, list(entries(results, {}, peers)), data=data)


def measure(store: ObjectStore, split: str, seed: int, cache: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Precision of both orders at each length."""
    live = read_live(store)
    if live is None:
        raise SystemExit("nothing is live there")
    encoder = open_encoder(fetch(store, live.live.release, cache))
    index = IndexSnapshot.open(fetch(store, live.live.index, cache))
    curated = Ref.parse(read_manifest(store, live.live.index).inputs["curated"])
    snapshot = CuratedSnapshot.open(store, curated, cache)
    partitions = [part for category in index.categories for part in index.partitions(category)]
    bits = unpack(np.concatenate([part.codes for part in partitions]))
    categories = np.concatenate([[part.category] * len(part) for part in partitions])
    photo_ids = np.concatenate([part.photo_ids.to_pylist() for part in partitions])
    asked = [
        (row["photo_id"], row["category"]) for row in snapshot.listings.to_pylist() if row["split"] == split
    ]
    card = encoder.card
    squares = np.stack([photos.load_square(snapshot.photo_bytes(p), card.preset.resize) for p, _ in asked])
    thresholds = card.threshold_array
    chances = np.concatenate(
        [
            bit_probabilities(encoder.encode(squares[i : i + BATCH]).activations, thresholds)
            for i in range(0, len(squares), BATCH)
        ]
    )
    rng = np.random.default_rng(seed)
    results: dict[str, Any] = {}
    for length in (*LENGTHS, card.bits):
        plain, rescored = [], []
        for _ in range(DRAWS if length < card.bits else 1):
            chosen = np.sort(rng.choice(card.bits, length, replace=False))
            gallery = np.packbits(bits[:, chosen], axis=1)
            for (photo_id, category), chance in zip(asked, chances[:, chosen], strict=True):
                distances = hamming(pack(chance[None])[0], gallery)
                distances[photo_ids == photo_id] = card.bits + 1
                nearest = np.argsort(distances, kind="stable")[:CANDIDATES]
                expected = Rescorer(chance).distances(gallery, nearest)
                again = nearest[np.argsort(expected, kind="stable")]
                plain.append((categories[nearest[:SHOWN]] == category).mean())
                rescored.append((categories[again[:SHOWN]] == category).mean())
        results[str(length)] = {
            "by_distance_precision": round(float(np.mean(plain)), 4),
            "rescored_precision": round(float(np.mean(rescored)), 4),
        }
    data = {"release": str(live.live.release), "queries": len(asked), "split": split, "seed": seed}
    return results, data


if __name__ == "__main__":
    main()
