"""Listings of categories that the model was not trained on are found by their look, counted, and warned of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from lookalike.coding.extraction import extract
from lookalike.imaging.photos import load_square
from lookalike.index.builder import build
from lookalike.publishing.unlearned import in_words, unlearned_categories
from lookalike.ranking.request import Answer, Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.storage.artefacts import fetch
from tests.shop import SIDE, Shop, make_listings, render, write_curated

NEW = "toys/ball"
MOVED = ("3-004", "3-005", "3-006")
"""Vases that the shop calls balls since the model was trained."""


@pytest.fixture(scope="module")
def changed(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """The shop after a re-index under the same model."""
    listings = tuple(
        dataclasses.replace(row, category=NEW) if row.listing_id in MOVED else row
        for row in make_listings(24)
    )
    work = tmp_path_factory.mktemp("changed")
    curated = write_curated(shop.store, listings, work)
    extraction = extract(shop.store, curated, shop.release, cache_dir=shop.cache_dir, threads=1)
    index = build(shop.store, curated, extraction, shards=1, cache_dir=shop.cache_dir)
    return dataclasses.replace(shop, curated=curated, index=index, listings=listings)


@pytest.fixture(scope="module")
def searcher(changed: Shop) -> Searcher:
    release, index = (
        fetch(changed.store, ref, changed.cache_dir) for ref in (changed.release, changed.index)
    )
    return open_searcher(release, index, RankingConfig(maximum_categories=1), threads=1)


def asked(searcher: Searcher, request: SearchRequest | None = None, **query: object) -> Answer:
    return searcher.search_all([Query(request or SearchRequest(k=12), **query)])[0]  # type: ignore[arg-type]


PHOTO = load_square(render("home/vase", 5), SIDE)


def test_a_photo_finds_a_listing_of_an_unlearned_category(searcher: Searcher) -> None:
    answer = asked(searcher, photo=PHOTO)
    assert answer.hits[0].category == NEW
    assert answer.hits[0].distance <= 4
    assert answer.unlearned == 3
    assert answer.scanned == 24  # the 21 vases that are left, and these
    assert NEW not in [guess.category for guess in answer.categories]


def test_the_scan_is_exact_whatever_the_category_of_the_photo(searcher: Searcher) -> None:
    """Rows of an unlearned category compete by distance with those of the opened one, for any photo."""
    plain = Searcher(
        searcher.encoder,
        searcher.listings,
        RankingConfig(maximum_categories=1, blend=1, asymmetric=False, group=False),
    )
    (query,) = plain.encode([Query(photo=PHOTO)])
    expected = []
    for row in (f"3-{number:03d}" for number in range(24)):
        found = searcher.listings.find(row)
        assert found is not None
        expected.append((int(np.bitwise_count(query.code ^ found[1][0]).sum()), row))
    answer = asked(plain, SearchRequest(k=24), photo=PHOTO)
    assert [(hit.distance, hit.listing_id) for hit in answer.hits] == sorted(expected)


def test_other_searches_do_not_open_it(searcher: Searcher) -> None:
    for answer in (
        asked(searcher, SearchRequest(categories=("home/vase",)), photo=PHOTO),
        asked(searcher, listing_id="2-001"),
    ):
        assert answer.unlearned == 0
        assert NEW not in {hit.category for hit in answer.hits}
    off = Searcher(searcher.encoder, searcher.listings, dataclasses.replace(searcher.config, unlearned=False))
    assert NEW not in {hit.category for hit in asked(off, photo=PHOTO).hits}


def test_publishing_says_how_many_there_are(changed: Shop, tmp_path: Path) -> None:
    found = unlearned_categories(changed.store, changed.release, changed.index, tmp_path)
    assert found == {NEW: 3}
    assert in_words(found).startswith(
        f"3 listings are in categories that the model was not trained on: {NEW} (3)."
    )
    assert in_words({}) == ""
