"""Building an index snapshot from a curated snapshot and its code shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from lookalike.index.builder import build
from lookalike.index.hamming import Scanner
from lookalike.index.reader import IndexSnapshot
from lookalike.storage.artefacts import fetch
from tests.index.conftest import RELEASE, Snapshot

MakeSnapshot = Callable[..., Snapshot]


def open_index(snapshot: Snapshot, cache: Path, **options: object) -> IndexSnapshot:
    ref = build(snapshot.store, snapshot.curated, snapshot.extraction, cache_dir=cache, **options)  # type: ignore[arg-type]
    return IndexSnapshot.open(fetch(snapshot.store, ref, cache))


def test_every_listing_with_a_code_is_found_in_its_category(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a/b": 40, "a/c": 30, "d": 1}, missing=5)
    index = open_index(made, tmp_path, shards=3)
    expected = {
        (row["listing_id"], row["category"], row["price"], tuple(row["aspect_color"]))
        for row in made.listings.to_pylist()
        if row["photo_id"] in made.codes
    }
    found = set()
    for category in index.categories:
        for part in index.partitions(category):
            for i, (listing, photo) in enumerate(
                zip(part.listing_ids.to_pylist(), part.photo_ids.to_pylist(), strict=True)
            ):
                assert (part.codes[i] == made.codes[photo]).all()
                price = None if np.isnan(part.prices[i]) else float(part.prices[i])
                found.add((listing, category, price, tuple(part.aspects["color"][i].as_py())))
    assert found == expected
    assert len(index) == len(expected)
    assert index.release == str(RELEASE)


def test_the_nearest_listing_of_a_photo_is_itself(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a": 40, "b": 30})
    index = open_index(made, tmp_path, shards=2)
    partitions = [p for c in index.categories for p in index.partitions(c)]
    photo, code = next(iter(made.codes.items()))
    found = Scanner(1).top_k(code[None], partitions, 5)
    assert found.distance.shape == (1, 5)
    assert found.distance[0, 0] == 0
    assert partitions[found.partition[0, 0]].photo_ids[int(found.row[0, 0])].as_py() == photo
