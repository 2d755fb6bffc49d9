"""What training sees: every distinct photo once, validation that is truly apart, squares that survive a kill."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import CorruptObject, TrainingError
from lookalike.imaging.photos import load_square
from lookalike.learning.dataset import TrainingData, load_training_data, shuffled_batches
from lookalike.learning.squares import DecodedSquares, MappedSquares
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


def photos_of(data: TrainingData) -> np.ndarray:
    found = np.empty((len(data.squares), 24, 24, 3), np.uint8)
    data.squares.take(np.arange(len(data.squares)), found)
    return found


def test_all_photos_of_a_listing_are_seen_on_its_side(tmp_path: Path) -> None:
    one, *others = make_listings(12)
    held_out = {x.listing_id: dataclasses.replace(x, split="val") for x in others[::5]}
    more = tuple(row.photo for row in make_listings(14)[12:14])
    listings = (dataclasses.replace(one, more_photos=more), *(held_out.get(x.listing_id, x) for x in others))
    snapshot = snapshot_of(listings, tmp_path)
    data = load(snapshot, tmp_path)
    assert len(data.train) == len(listings) - len(held_out) + 2
    assert len(data.validation) == len(held_out)
    rows = [i for i, row in enumerate(data.train.listing_rows.tolist()) if row == 0]
    photos, labels = data.batch(data.train, np.array(rows))
    assert {data.categories[label] for label in labels} == {one.category}
    for square, photo in zip(photos, (one.photo, *more), strict=True):
        assert np.array_equal(square.permute(1, 2, 0).numpy(), load_square(photo, 24))


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
    before = photos_of(load(snapshot, tmp_path, first))
    assert np.array_equal(photos_of(load(snapshot, tmp_path, second)), before)
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
    assert all(square.any() for square in photos_of(data))


def test_batches_hold_every_row_at_most_once_in_an_order_of_the_seed() -> None:
    first, again, other = (list(shuffled_batches(50, 8, seed=(1, 2, n))) for n in (3, 3, 4))
    assert [len(batch) for batch in first] == [8] * 6
    assert len(np.unique(np.concatenate(first))) == 48
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_photos_decoded_for_every_batch_are_those_decoded_once(tmp_path: Path) -> None:
    """By two worker processes, more photos than one task of theirs."""
    snapshot = snapshot_of(make_listings(8), tmp_path)
    always = load_training_data(snapshot, 24, cache_dir=tmp_path / "none", threads=2, decoding="always")
    assert isinstance(always.squares, DecodedSquares)
    assert np.array_equal(photos_of(always), photos_of(load(snapshot, tmp_path)))
    out = np.empty((2, 24, 24, 3), np.uint8)
    always.squares.take(np.array([40, 3]), out)
    assert np.array_equal(out, photos_of(always)[[40, 3]])


def test_a_photo_that_cannot_be_decoded_anew_is_named(tmp_path: Path) -> None:
    snapshot = snapshot_of(make_listings(2), tmp_path)
    squares = DecodedSquares(snapshot, [row.photo_id for row in make_listings(2)], 24, workers=1)
    place = snapshot.photo_store.place(make_listings(2)[1].photo_id)
    with place.path.open("r+b") as shard:
        shard.seek(place.offset)
        shard.write(bytes(place.length))
    with pytest.raises(
        CorruptObject, match=rf"\.tar: photo {make_listings(2)[1].photo_id} cannot be decoded"
    ):
        squares.take(np.array([0, 1]), np.empty((2, 24, 24, 3), np.uint8))


def test_squares_are_mapped_where_the_disk_has_room_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_of(make_listings(8), tmp_path)
    total = 48 * 24 * 24 * 3
    for free, kind in (
        (2 * total, MappedSquares),
        (total, MappedSquares),
        (2 * total - 2, DecodedSquares),
    ):
        cache = tmp_path / f"cache-{free == 2 * total - 2}"  # the second finds what the first has left
        monkeypatch.setattr(
            shutil, "disk_usage", lambda path, free=free: shutil._ntuple_diskusage(100_000, 0, free)
        )
        found = load_training_data(snapshot, 24, cache_dir=cache, threads=1).squares
        assert isinstance(found, kind)


def test_squares_take_no_more_than_the_settings_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = snapshot_of(make_listings(8), tmp_path)
    total = 48 * 24 * 24 * 3
    for allowed, kind in ((total - 1, DecodedSquares), (total, MappedSquares)):
        monkeypatch.setenv("LOOKALIKE_SQUARES_GIB", str(allowed / 2**30))
        found = load_training_data(snapshot, 24, cache_dir=tmp_path / "squares", threads=1).squares
        assert isinstance(found, kind)


@pytest.fixture
def decoded(tmp_path: Path) -> tuple[DecodedSquares, list[BaseProcess]]:
    """Squares that two processes decode, and those processes."""
    ids = [row.photo_id for row in make_listings(8)]
    others = multiprocessing.active_children()
    squares = DecodedSquares(snapshot_of(make_listings(8), tmp_path), ids, 24, workers=2)
    squares.take(np.arange(48), np.empty((48, 24, 24, 3), np.uint8))
    return squares, [worker for worker in multiprocessing.active_children() if worker not in others]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_keep_no_memory_of_the_threads_that_came_and_went(
    decoded: tuple[DecodedSquares, list[BaseProcess]],
) -> None:
    squares, workers = decoded
    for _ in range(3):
        out = np.empty((48, 24, 24, 3), np.uint8)
        thread = threading.Thread(target=squares.take, args=(np.arange(48), out))
        thread.start()
        thread.join()
        assert out.any(axis=(1, 2, 3)).all()
    assert workers
    for worker in workers:
        assert "/dev/shm/psm_" not in Path(f"/proc/{worker.pid}/maps").read_text()


def test_workers_that_died_are_reported_with_the_likely_cause(
    decoded: tuple[DecodedSquares, list[BaseProcess]],
) -> None:
    squares, workers = decoded
    for worker in workers:
        worker.kill()
    with pytest.raises(TrainingError, match="most likely because /dev/shm is full"):
        squares.take(np.arange(48), np.empty((48, 24, 24, 3), np.uint8))


_OWNER = """
import sys, threading
from pathlib import Path
import numpy as np
from tests.learning.test_dataset import DecodedSquares, make_listings, snapshot_of

ids = [row.photo_id for row in make_listings(8)]
squares = DecodedSquares(snapshot_of(make_listings(8), Path(sys.argv[1])), ids, 24, workers=2)
squares.take(np.arange(48), np.empty((48, 24, 24, 3), np.uint8))
print("decoded", flush=True)
threading.Event().wait()
"""


def test_workers_of_a_killed_process_end(tmp_path: Path) -> None:
    """They hold its standard output open for as long as they live."""
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER, str(tmp_path)],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "decoded\n"
        owner.kill()
        assert owner.communicate(timeout=60) == ("", None)
    finally:
        if owner.returncode is None:
            os.killpg(owner.pid, signal.SIGKILL)
            owner.communicate()
