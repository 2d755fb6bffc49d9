"""Listings with several photos: each is found once, by its nearest photo, exactly, through rankers, too."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from lookalike.coding.extraction import extract
from lookalike.imaging.photos import load_square
from lookalike.index.builder import build
from lookalike.index.hamming import Scanner, bitmap
from lookalike.index.reader import IndexSnapshot, Partition
from lookalike.index.segment import segment_name
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import IndexedListing, Wanted
from lookalike.ranking.local import MappedListings
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.scan import ScanJob, scan
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.sharding import wire
from lookalike.sharding.remote import RemoteCandidates, merge_nearest, merge_summaries
from lookalike.storage.artefacts import fetch
from lookalike.storage.directory import DirectoryStore
from tests.index.conftest import Snapshot, make_snapshot
from tests.shop import SIDE, open_shop, render, write_curated

ROWS = {"a": 70, "b/c": 200, "b/d": 3}
MOST, BITS, SHARDS = 6, 64, 3
QUERIES = 60

Found = list[tuple[str, int, int]]
"""(listing id, ordinal, distance), nearest first."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """Codes of few bits, and of few kinds: distances are often equal, within a listing and between listings."""
    root = tmp_path_factory.mktemp("several")
    return make_snapshot(
        root / "store", ROWS, bits=BITS, photos=MOST, missing=20, correlated=True, further=True
    )


@pytest.fixture(scope="module")
def opened(made: Snapshot, tmp_path_factory: pytest.TempPathFactory) -> list[MappedListings]:
    """The whole index in one segment, then the shards of the same listings."""
    cache = tmp_path_factory.mktemp("cache")
    whole = build(made.store, made.curated, made.extraction, cache_dir=cache)
    parts = build(made.store, made.curated, made.extraction, shards=SHARDS, cache_dir=cache)
    snapshots = [IndexSnapshot.open(fetch(made.store, whole, cache))]
    for shard in range(SHARDS):
        artefact = fetch(made.store, parts, cache, [segment_name(shard, SHARDS)])
        snapshots.append(IndexSnapshot.open(artefact, shard=shard))
    return [MappedListings(snapshot, Scanner(1)) for snapshot in snapshots]


@pytest.fixture(scope="module")
def asked(made: Snapshot) -> list[Wanted]:
    rng = np.random.default_rng(8)
    codes = list(made.codes.values())
    filters = [Filters(), Filters((("color", ("red",)),)), Filters((), 20, 120)]
    categories = [("a",), ("b/c", "a"), ("a", "b/c", "b/d"), ("b/d",)]
    return [
        Wanted(
            code=codes[int(rng.integers(len(codes)))] ^ rng.integers(0, 2, BITS // 8, np.uint8),
            categories=categories[i % len(categories)],
            filters=filters[i % len(filters)],
            k=int(rng.choice([1, 2, 7, 30, 100, 400])),
            weights=rng.random(BITS).astype(np.float32),
            aspects=("color",),
            others=tuple(
                (codes[int(rng.integers(len(codes)))], rng.random(BITS).astype(np.float32))
                for _ in range(i % 3)
            ),
        )
        for i in range(QUERIES)
    ]


def brute_force(made: Snapshot, wanted: Wanted) -> Found:
    """Every photo of every listing that passes, one after another."""
    photos: dict[str, list[tuple[int, str]]] = {}
    for row in made.photos.to_pylist():
        if row["photo_id"] in made.codes:
            photos.setdefault(row["listing_id"], []).append((row["ordinal"], row["photo_id"]))
    found = []
    for listing in made.listings.to_pylist():
        price, listing_id = listing["price"], listing["listing_id"]
        low, high = wanted.filters.price_from, wanted.filters.price_to
        passes = listing["category"] in wanted.categories and listing_id in photos
        passes &= all(
            {*values} & {*listing[f"aspect_{name}"]} != set() for name, values in wanted.filters.aspects
        )
        if low is not None and high is not None:
            passes &= price is not None and low <= price <= high
        if passes:
            nearest = min(
                (distance(code, made.codes[photo]), n)
                for n, photo in photos[listing_id]
                for code in wanted.codes
            )
            found.append((nearest[0], listing_id, nearest[1]))
    return [(listing_id, n, d) for d, listing_id, n in sorted(found)[: wanted.k]]


def distance(one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]) -> int:
    return int(np.bitwise_count(one ^ other).sum())


def test_a_listing_has_the_codes_of_its_photos_in_their_order(
    made: Snapshot, opened: list[MappedListings]
) -> None:
    for listing_id in made.listings["listing_id"].to_pylist()[::9]:
        mine = [r["photo_id"] for r in made.photos.to_pylist() if r["listing_id"] == listing_id]
        expected = [made.codes[photo].tobytes() for photo in mine if photo in made.codes]
        for found in (each.find(listing_id) for each in opened):
            told = wire.read_listing(wire.listing_json(found))
            assert told is None or [code.tobytes() for code in told[1]] == expected
        assert any(each.find(listing_id) for each in opened[1:]) == bool(expected)


def through_rankers(opened: list[MappedListings], wanted: list[Wanted]) -> Iterator[RemoteCandidates]:
    answers = [wire.read_found(wire.found_bytes(wanted, each.nearest(wanted)), wanted) for each in opened[1:]]
    for w, parts in zip(wanted, zip(*answers, strict=True), strict=True):
        yield RemoteCandidates(w, merge_nearest(w, parts), ())


def test_k_listings_are_found_each_by_its_nearest_photo(
    made: Snapshot, opened: list[MappedListings], asked: list[Wanted]
) -> None:
    remote = list(through_rankers(opened, asked))
    photo_ids = {(row["listing_id"], row["ordinal"]): row["photo_id"] for row in made.photos.to_pylist()}
    for w, ours, theirs in zip(asked, opened[0].nearest(asked), remote, strict=True):
        expected = brute_force(made, w)
        listings = ours.listings(("color",))
        assert hits(listings, ours.distance) == expected
        assert theirs.listings(("color",)) == listings
        assert theirs.distance.tolist() == ours.distance.tolist()
        assert theirs.expected_distances().tolist() == ours.expected_distances().tolist()
        assert all(photo_ids[x.listing_id, x.photo_ordinal] == x.photo_id for x in listings)


def hits(listings: list[IndexedListing], distances: npt.NDArray[np.int32]) -> Found:
    return [(x.listing_id, x.photo_ordinal, d) for x, d in zip(listings, distances.tolist(), strict=True)]


def test_a_listing_is_asked_about_once_however_it_is_put(
    opened: list[MappedListings], asked: list[Wanted]
) -> None:
    """Alone, or beside queries that ask for other k and open other categories."""
    together = opened[0].nearest(asked)
    for w, found in zip(asked, together, strict=True):
        (alone,) = opened[0].nearest([w])
        assert alone.listings(()) == found.listings(())


def test_counts_are_of_listings_not_of_photos(made: Snapshot, opened: list[MappedListings]) -> None:
    known = {row["listing_id"] for row in made.photos.to_pylist() if row["photo_id"] in made.codes}
    listings = [row for row in made.listings.to_pylist() if row["listing_id"] in known]
    whole, merged = opened[0].summary, merge_summaries([each.summary for each in opened[1:]])
    for summary in (whole, merged):
        assert summary.rows == {c: sum(row["category"] == c for row in listings) for c in ROWS}
        assert summary.values["color"] == {
            value: sum(value in row["aspect_color"] for row in listings) for value in ("red", "blue")
        }
        assert len(summary) == len(listings) < len(made.photos)


def test_texts_of_a_listing_are_those_of_its_first_row(made: Snapshot, opened: list[MappedListings]) -> None:
    stated = {row["listing_id"]: row for row in made.listings.to_pylist()}
    code = np.zeros(BITS // 8, np.uint8)
    for found in opened[0].nearest([Wanted(code, tuple(ROWS), Filters(), 400)]):
        listings = found.listings(())
        assert any(x.photo_ordinal > 0 for x in listings)
        assert all(x.columns[name] == stated[x.listing_id].get(name) for x in listings for name in x.columns)


@pytest.mark.parametrize(("photos", "most"), [("main", 1), (2, 2), ("all", MOST)])
def test_so_many_photos_are_indexed_as_asked_for(
    made: Snapshot, tmp_path: Path, photos: str | int, most: int
) -> None:
    ref = build(made.store, made.curated, made.extraction, photos=photos, cache_dir=tmp_path)  # type: ignore[arg-type]
    snapshot = IndexSnapshot.open(fetch(made.store, ref, tmp_path))
    wanted = [r for r in made.photos.to_pylist() if r["photo_id"] in made.codes and r["ordinal"] < most]
    assert len(snapshot) == len(wanted)
    assert sum(snapshot.listings.values()) == len({row["listing_id"] for row in wanted})


def test_a_shop_finds_a_listing_by_its_second_photo_and_not_itself(tmp_path: Path) -> None:
    """A vase that is also shown as a boot: it is found as either, once, and looks for both when asked to."""
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    shop = open_shop(store, cache, per_category=8)
    boot = render("shoes/boot", 40)
    photo_id = hashlib.md5(boot, usedforsecurity=False).hexdigest()
    rows = [replace(row, more_photos=(boot,)) if row.listing_id == "3-005" else row for row in shop.listings]
    curated = write_curated(store, tuple(rows), cache)
    extraction = extract(store, curated, shop.release, cache_dir=cache, threads=1)
    index = build(store, curated, extraction, shards=2, cache_dir=cache)
    searcher = open_searcher(*(fetch(store, ref, cache) for ref in (shop.release, index)), threads=1)
    every = SearchRequest(k=200, categories=("home", "shoes"))
    (found,) = searcher.search_all([Query(every, photo=load_square(boot, SIDE))])
    first = found.hits[0]
    assert (first.listing_id, first.photo_id, first.photo_ordinal, first.distance) == (
        "3-005",
        photo_id,
        1,
        0,
    )
    assert [hit.listing_id for hit in found.hits].count("3-005") == 1
    known = searcher.listings.find("3-005")
    assert known is not None
    assert known[0].photos == (rows[29].photo_id, photo_id)
    main, all_photos = searcher.search_all(
        [
            Query(replace(every, blend=1.0, every_photo=every_photo), listing_id="3-005")
            for every_photo in (False, True)
        ]
    )
    assert "3-005" not in {hit.listing_id for answer in (main, all_photos) for hit in answer.hits}
    boots = [[hit.category for hit in answer.hits[:3]].count("shoes/boot") for answer in (main, all_photos)]
    assert boots[0] == 0
    assert boots[1] >= 1


def test_likeness_is_that_of_the_matched_photo_and_the_nearest_photo_of_the_query(tmp_path: Path) -> None:
    """By some of the bits, as where others are about the category and about colours."""
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    shop = open_shop(store, cache, per_category=8)
    rows = [
        replace(row, more_photos=(render("shoes/boot", 40 + i),)) if i % 2 else row
        for i, row in enumerate(shop.listings)
    ]
    curated = write_curated(store, tuple(rows), cache)
    index = build(
        store, curated, extract(store, curated, shop.release, cache_dir=cache, threads=1), cache_dir=cache
    )
    opened = open_searcher(*(fetch(store, ref, cache) for ref in (shop.release, index)), threads=1)
    measure = opened.listings.summary.likeness
    assert measure is not None
    measure = replace(measure, bits=(100, 200))
    opened.listings.summary = replace(opened.listings.summary, likeness=measure)
    searcher = Searcher(opened.encoder, opened.listings, aspects=opened.aspects)
    for every_photo in (False, True):
        request = SearchRequest(categories=("home", "shoes"), every_photo=every_photo)
        (answer,) = searcher.search_all([Query(request, listing_id="3-005")])
        own = stored_codes(searcher, "3-005")[: None if every_photo else 1]
        assert len(own) == 1 + every_photo
        for hit in answer.hits:
            apart = own ^ stored_codes(searcher, hit.listing_id)[hit.photo_ordinal]
            near = np.unpackbits(apart, axis=1)[:, 100:200].sum(axis=1).min()
            assert hit.likeness == pytest.approx(float(measure.of(np.array([near]))[0]), abs=1e-4)


def stored_codes(searcher: Searcher, listing_id: str) -> npt.NDArray[np.uint8]:
    """Those of a listing's photos, u8[photos, bits // 8]."""
    found = searcher.listings.find(listing_id)
    assert found is not None
    return found[1]


def test_a_listing_of_many_near_photos_leaves_room_for_others() -> None:
    """Listing `a` has 60 photos, all nearer than the one photo of each of 40 others."""
    ids = ["a"] * 60 + [f"b{i:02d}" for i in range(40)]
    codes = np.zeros((100, BITS // 8), np.uint8)
    codes[60:, 0] = 255
    texts = pa.array(ids, pa.utf8())
    firsts = np.array([0, *range(60, 100)])
    part = Partition("c", codes, texts, texts, texts, np.zeros(100), {}, firsts=firsts)
    job = ScanJob(codes[0], (part,), (None,), 5)
    (found,) = scan(Scanner(1), [job])
    assert [ids[row] for row in found.row] == ["a", "b00", "b01", "b02", "b03"]
    allowed = bitmap(np.arange(100) < 61)
    (found,) = scan(Scanner(1), [replace(job, allowed=(allowed,))])
    assert [ids[row] for row in found.row] == ["a", "b00"]
