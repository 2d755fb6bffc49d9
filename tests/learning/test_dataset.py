"""What training sees: every distinct photo once, validation that is truly apart, squares that survive a kill."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lookalike.catalogue.photos import load_square
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.learning.dataset import TrainingData, load_training_data, shuffled_batches
from lookalike.storage.directory import DirectoryStore
from tests.shop import CATEGORIES, Listing, make_listings, write_curated


def snapshot_of(listings: tuple[Listing, ...], root: Path) -> CuratedSnapshot:
    store = DirectoryStore(root / "store")
    return CuratedSnapshot.open(store, write_curated(store, listings, root), root / "cache")


def load(snapshot: CuratedSnapshot, root: Path, calls: list[str] | None = None) -> TrainingData:
    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if calls is not None:
            calls.append(stage)

    return load_training_data(snapshot, 24, cache_dir=root / "cache", threads=1, progress=progress)


def test_squares_and_labels_belong_together(tmp_path: Path) -> None:
    snapshot = snapshot_of(make_listings(12), tmp_path)
    data = load(snapshot, tmp_path)
    assert data.categories == CATEGORIES
    for examples in (data.train, data.validation):
        photos, labels = data.batch(examples, np.arange(len(examples)))
        assert photos.shape == (len(examples), 3, 24, 24)
        for i, row in enumerate(examples.listing_rows.tolist()):
            listing = snapshot.listings.slice(row, 1).to_pylist()[0]
            expected = load_square(snapshot.photo_bytes(listing["photo_id"]), 24)
            assert np.array_equal(photos[i].permute(1, 2, 0).numpy(), expected)
            assert data.categories[labels[i]] == listing["category"]


def test_without_a_validation_split_whole_products_are_held_back(tmp_path: Path) -> None:
    snapshot = snapshot_of(make_listings(40), tmp_path)
    data = load(snapshot, tmp_path)
    group = np.array(snapshot.listings["group"].to_pylist())
    train, validation = (set(group[examples.listing_rows]) for examples in (data.train, data.validation))
    assert not train & validation
    assert 0.02 < len(validation) / (len(train) + len(validation)) < 0.25
    assert "holds nothing back" in data.note
    assert len(data.train) + len(data.validation) == snapshot.listings.num_rows


def test_listings_that_share_a_photo_count_once(tmp_path: Path) -> None:
    listings = make_listings(12)
    again = tuple(dataclasses.replace(row, listing_id="again-" + row.listing_id) for row in listings)
    twice = tuple(sorted(listings + again, key=lambda row: row.listing_id))
    data = load(snapshot_of(twice, tmp_path), tmp_path)
    assert len(data.train) + len(data.validation) == len(listings)
    assert len(data.squares) == len(listings)


def test_photos_are_decoded_once(tmp_path: Path) -> None:
    snapshot = snapshot_of(make_listings(6), tmp_path)
    first, second = [], []
    before = load(snapshot, tmp_path, first).squares
    assert np.array_equal(load(snapshot, tmp_path, second).squares, before)
    assert "decode photos" in first
    assert not second


def test_a_load_that_was_stopped_begins_again(tmp_path: Path) -> None:
    snapshot = snapshot_of(make_listings(6), tmp_path)

    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_training_data(snapshot, 24, cache_dir=tmp_path / "cache", threads=1, progress=stop)
    data = load(snapshot, tmp_path)
    assert all(square.any() for square in data.squares)


def test_batches_hold_every_row_at_most_once_in_an_order_of_the_seed() -> None:
    first, again, other = (list(shuffled_batches(50, 8, seed=(1, 2, n))) for n in (3, 3, 4))
    assert [len(batch) for batch in first] == [8] * 6
    assert len(np.unique(np.concatenate(first))) == 48
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
