"""Photos of a catalogue as shoppers would take them, and an index that is measured by these."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.coding.extraction import extract
from lookalike.coding.shoppers import Shoppers
from lookalike.errors import PhotoError
from lookalike.imaging.photos import load_square
from lookalike.imaging.shoppers import as_a_shopper
from lookalike.index.builder import build
from lookalike.index.likeness import Likeness
from lookalike.ranking.request import Query, RankingConfig, SearchRequest
from lookalike.ranking.search import open_searcher
from lookalike.storage.artefacts import fetch, read_manifest
from tests.shop import CATEGORIES, SIDE, Shop, render


def test_a_photo_taken_anew_is_another_of_the_same() -> None:
    photo = render(CATEGORIES[0], 3)
    assert as_a_shopper(photo, 1) == as_a_shopper(photo, 1) != as_a_shopper(photo, 2)
    clean, worse, other = (
        load_square(data, SIDE).astype(int)
        for data in (photo, as_a_shopper(photo, 1), render(CATEGORIES[4], 3))
    )
    assert 0 < np.abs(clean - worse).mean() < np.abs(clean - other).mean()
    with pytest.raises(PhotoError):
        as_a_shopper(b"no photo", 1)


def test_an_index_measured_by_shoppers_photos_refuses_the_share_that_was_asked_for(shop: Shop) -> None:
    extraction = extract(shop.store, shop.curated, shop.release, cache_dir=shop.cache_dir, threads=1)
    shoppers = Shoppers.of(shop.store, extraction, shop.cache_dir, 1)
    ids = sorted({row.photo_id for row in shop.listings})
    assert set(shoppers.take(ids)) == set(ids)
    index = build(
        shop.store, shop.curated, extraction, shards=2, take=shoppers.take, cache_dir=shop.cache_dir
    )
    assert index != shop.index
    plain, taken = (Likeness.from_meta(read_manifest(shop.store, ref).meta) for ref in (shop.index, index))
    assert plain is not None
    assert taken is not None
    assert plain.asked == taken.asked == len(shop.listings)
    assert taken.distances[95] > plain.distances[95]
    config = RankingConfig(least_likeness=0.1)
    refused = []
    for ref in (shop.index, index):
        searcher = open_searcher(
            fetch(shop.store, shop.release, shop.cache_dir),
            fetch(shop.store, ref, shop.cache_dir),
            config,
            threads=1,
        )
        asked = [
            Query(
                SearchRequest(k=1, exclude_groups=frozenset({row.product})),
                photo=load_square(as_a_shopper(row.photo, number), SIDE),
            )
            for number, row in enumerate(shop.listings)
        ]
        refused.append(float(np.mean([answer.judged.nothing_alike for answer in searcher.search_all(asked)])))
    assert refused[1] < min(refused[0], 0.15)
