"""How far a catalogue's own photos lie from what looks most like them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lookalike.index import likeness
from lookalike.index.builder import build
from lookalike.index.likeness import Likeness
from lookalike.storage.artefacts import read_manifest
from tests.index.conftest import Snapshot

MakeSnapshot = Callable[..., Snapshot]


def measured(made: Snapshot, cache: Path, shards: int = 1) -> Likeness | None:
    ref = build(made.store, made.curated, made.extraction, shards=shards, cache_dir=cache)
    return Likeness.from_meta(read_manifest(made.store, ref).meta)


def by_hand(made: Snapshot, splits: tuple[str, ...]) -> list[float]:
    """Each listing's mean distance to the five nearest of other groups, or where its category has not five of these,
    of other photos."""
    rows, found = made.listings.to_pylist(), []
    for row in rows:
        if row["split"] not in splits:
            continue
        near = [
            (int(np.bitwise_count(made.codes[row["photo_id"]] ^ made.codes[other["photo_id"]]).sum()), other)
            for other in rows
            if other["photo_id"] != row["photo_id"]
        ]
        others = [(distance, other) for distance, other in near if other["group"] != row["group"]]
        kept = others if sum(other["category"] == row["category"] for _, other in others) >= 5 else near
        found.append(float(np.mean(sorted(distance for distance, _ in kept)[:5])))
    return found


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("rows", [{"a": 60, "b": 50}, {f"c{n}": 6 for n in range(18)}])
def test_held_out_listings_are_measured_against_other_products_if_there_are_five(
    snapshot: MakeSnapshot,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    shards: int,
    rows: dict[str, int],
) -> None:
    monkeypatch.setattr(likeness, "_ENOUGH", 30)
    made = snapshot(rows)
    found = measured(made, tmp_path, shards)
    assert found is not None
    expected = by_hand(made, ("val", "test"))
    assert found.asked == len(expected)
    assert found.distances == pytest.approx(np.quantile(expected, np.linspace(0, 1, 101)), abs=0.06)


def test_where_few_are_held_out_others_fill_up(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a": 60, "b": 50})
    found = measured(made, tmp_path)
    assert found is not None
    assert found.asked == 110


def test_too_few_listings_have_no_measure(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    assert measured(snapshot({"a": 12, "b": 6}), tmp_path) is None


def test_likeness_is_the_share_of_own_photos_that_are_farther() -> None:
    measure = Likeness(tuple(float(d) for d in range(100, 201)), (0, 128), 500)
    assert measure.of(np.array([50, 100, 150, 195, 200, 900])).tolist() == pytest.approx(
        [1, 1, 0.5, 0.05, 0, 0]
    )


@pytest.mark.parametrize(
    "meta",
    [
        {},
        {"likeness": None},
        {"likeness": {"nearest": 3, "asked": 9, "bits": [0, 8], "distances": [1, 2]}},
        {"likeness": {"nearest": 5, "asked": 9, "bits": [0, 8], "distances": [2, 1]}},
        {"likeness": {"nearest": 5, "asked": 9, "distances": [1, 2]}},
    ],
)
def test_an_index_that_says_nothing_we_know_has_no_measure(meta: dict[str, object]) -> None:
    assert Likeness.from_meta(meta) is None
