"""Extraction: every distinct photo once, the same after a kill, and only what is new the next time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from lookalike.coding.encoder import open_encoder
from lookalike.coding.extraction import Pace, extract, extract_part
from lookalike.coding.shards import code_shards, read_features
from lookalike.errors import SettingsError
from lookalike.imaging.photos import load_square
from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Ref, fetch
from lookalike.storage.directory import DirectoryStore
from tests.shop import CATEGORIES, Listing, make_listings, write_curated, write_release

PACE = Pace(batch=4)


class Place:
    """A store with a release, and snapshots of parts of one catalogue."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache_dir = root, root / "cache"
        self.store = DirectoryStore(root / "store")
        self.cache_dir.mkdir(parents=True)
        self.release = write_release(self.store, make_listings(4), self.cache_dir)

    def curate(self, listings: tuple[Listing, ...]) -> Ref:
        return write_curated(self.store, tuple(sorted(listings, key=lambda row: row.listing_id)), self.root)

    def extract(self, curated: Ref, **options: object) -> Ref:
        settings = {"cache_dir": self.cache_dir, "pace": PACE, "shard_size": 8, "threads": 1} | options
        return extract(self.store, curated, self.release, **settings)  # type: ignore[arg-type]

    def extract_part(self, curated: Ref, part: int, parts: int, **options: object) -> int:
        settings = {"cache_dir": self.cache_dir, "pace": PACE, "shard_size": 8, "threads": 1} | options
        return extract_part(self.store, curated, self.release, part, parts, **settings)  # type: ignore[arg-type]

    def rows(self, extraction: Ref) -> dict[str, tuple[bytes, bytes]]:
        found: dict[str, tuple[bytes, bytes]] = {}
        for shard in code_shards(fetch(self.store, extraction, self.cache_dir)):
            table = pq.read_table(self.store.local_path(shard.key))
            assert table.num_rows == shard.rows
            for photo_id, code, features in zip(
                *(column.to_pylist() for column in table.columns), strict=True
            ):
                assert photo_id not in found
                found[photo_id] = (code, features)
        return found

    def shard_keys(self) -> list[str]:
        listed = self.store.list(keys.code_shards(self.release.id))
        return [info.key for info in listed if info.key.endswith(".parquet")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "one")


def test_every_distinct_photo_has_the_encoders_code(place: Place) -> None:
    listings = make_listings(4)
    twice = (*listings, *make_listings(2, prefix="again-"))
    ref = place.extract(place.curate(twice))
    rows = place.rows(ref)
    assert rows.keys() == {row.photo_id for row in listings}
    encoder = open_encoder(fetch(place.store, place.release, place.cache_dir), threads=1)
    for row in listings[::5]:
        encoding = encoder.encode(load_square(row.photo, encoder.card.preset.resize)[None])
        code, features = rows[row.photo_id]
        assert code == encoding.codes.tobytes()
        assert np.frombuffer(features, "<f2") == pytest.approx(encoding.features[0], rel=2e-3, abs=1e-3)


def test_the_manifest_says_what_was_extracted(place: Place) -> None:
    ref = place.extract(place.curate(make_listings(4)))
    meta = fetch(place.store, ref, place.cache_dir).manifest.meta
    assert ref.kind is Kind.EXTRACTION
    assert meta["release"] == str(place.release)
    assert (meta["bits"], meta["photos"], meta["undecodable"]) == (256, 24, [])
    assert meta["preset"]["resize"] == 64


class Stop(Exception):
    pass


@pytest.mark.parametrize("after", [1, 9, 17, 23])
def test_a_stopped_extraction_ends_with_the_same_bytes(place: Place, tmp_path: Path, after: int) -> None:
    def stop(stage: str, done: int, total: int, note: str = "") -> None:
        if done >= after:
            raise Stop

    listings = make_listings(4)
    undisturbed = Place(tmp_path / "other")
    expected = undisturbed.extract(undisturbed.curate(listings))
    curated = place.curate(listings)
    with pytest.raises(Stop):
        place.extract(curated, progress=stop)
    assert not list(place.store.list("extractions/"))
    assert place.extract(curated) == expected
    assert place.shard_keys() == undisturbed.shard_keys()


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_leave_what_one_extraction_leaves(place: Place, tmp_path: Path, parts: int) -> None:
    listings = make_listings(4)
    broken = replace(listings[0], listing_id="x", photo=b"no photo")
    undisturbed = Place(tmp_path / "other")
    expected = undisturbed.extract(undisturbed.curate((*listings, broken)))
    curated = place.curate((*listings, broken))
    encoded = [place.extract_part(curated, part, parts) for part in reversed(range(parts))]
    assert sum(encoded) == len(listings)
    assert place.extract_part(curated, 0, parts) == 0, "a part that is run again finds its work done"
    keys_of_parts = place.shard_keys()
    assert place.extract(curated) == expected
    assert place.shard_keys() == keys_of_parts == undisturbed.shard_keys()


def test_a_part_that_does_not_exist_is_refused(place: Place) -> None:
    with pytest.raises(SettingsError, match="numbered from 0"):
        place.extract_part(place.curate(make_listings(2)), 2, 2)


def test_however_much_overlaps_the_shards_are_the_same(place: Place, tmp_path: Path) -> None:
    """Several decoders, several forward passes at a time, batches that do not fit the shards."""
    place.extract(place.curate(make_listings(4)))
    other = Place(tmp_path / "other")
    pace = Pace(batch=3, decoders=3, encoders=2)
    said: list[str] = []
    other.extract(
        other.curate(make_listings(4)),
        pace=pace,
        progress=lambda stage, done, total, note="": said.append(note),
    )
    assert other.shard_keys() == place.shard_keys()
    assert said[-1].endswith("photos/s")


def test_a_later_snapshot_extracts_only_what_is_new(place: Place) -> None:
    first = place.extract(place.curate(make_listings(4)))
    before, asked = place.shard_keys(), []
    second = place.extract(
        place.curate(make_listings(5)), progress=lambda stage, done, total, note="": asked.append(total)
    )
    assert set(asked) == {len(CATEGORIES)}
    assert set(before) < set(place.shard_keys())
    old, new = place.rows(first), place.rows(second)
    assert len(new) == len(old) + len(CATEGORIES)
    assert all(new[photo_id] == row for photo_id, row in old.items())


def test_an_undecodable_photo_is_named_and_left_out(place: Place) -> None:
    good = make_listings(2)
    broken = Listing(
        "zz", CATEGORIES[0], good[0].photo[:200], None, None, "p", {"mark": [], "brand": [], "material": []}
    )
    ref = place.extract(place.curate((*good, broken)))
    meta = fetch(place.store, ref, place.cache_dir).manifest.meta
    assert meta["undecodable"] == [broken.photo_id]
    assert meta["photos"] == len(good)
    assert broken.photo_id not in place.rows(ref)


def test_features_come_back_in_the_order_asked(place: Place) -> None:
    listings = make_listings(3)
    ref = place.extract(place.curate(listings))
    ids = [row.photo_id for row in reversed(listings)]
    found = read_features(place.store, ref, ids, place.cache_dir)
    rows = place.rows(ref)
    assert found.shape == (len(ids), 192)
    assert all(
        np.array_equal(found[i], np.frombuffer(rows[p][1], "<f2").astype("f4")) for i, p in enumerate(ids)
    )
