"""A photo that the catalogue has finds its own listing first, whatever aspects and prices say."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.imaging.photos import load_square
from lookalike.ranking.request import Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.storage.artefacts import fetch
from tests.shop import SIDE, Shop


@pytest.fixture(scope="module")
def searcher(shop: Shop) -> Searcher:
    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(release, index, threads=1)


def first_distances(searcher: Searcher, squares: list[np.ndarray], request: SearchRequest) -> list[int]:
    queries = [Query(request, photo=square) for square in squares]
    return [answer.hits[0].distance for answer in searcher.search_all(queries)]


@pytest.mark.parametrize("alpha", [None, 0.75, 0.2, 0.0])
def test_every_photo_of_the_catalogue_finds_itself_first(
    searcher: Searcher, shop: Shop, alpha: float | None
) -> None:
    everywhere = RankingConfig(probability_mass=1, maximum_categories=0)
    searcher = Searcher(searcher.encoder, searcher.listings, everywhere, aspects=searcher.aspects)
    squares = [load_square(row.photo, SIDE) for row in shop.listings]
    request = SearchRequest(k=3, blend=alpha)
    groups = [searcher.search_all([Query(request, photo=square)])[0].hits[0].group for square in squares]
    assert groups == [row.product for row in shop.listings]
    assert set(first_distances(searcher, squares, request)) == {0}


def test_the_photo_itself_has_the_highest_score_and_ties_go_by_listing_id(
    searcher: Searcher, shop: Shop
) -> None:
    config = RankingConfig(group=False)
    ungrouped = Searcher(searcher.encoder, searcher.listings, config, aspects=searcher.aspects)
    row = next(row for row in shop.listings if row.listing_id == "3-005")
    (answer,) = ungrouped.search_all(
        [Query(SearchRequest(k=20, blend=0.1), photo=load_square(row.photo, SIDE))]
    )
    assert answer.hits[0].score == 1
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)
    near = [hit for hit in answer.hits if hit.distance <= config.same_photo * searcher.card.bits]
    assert near == list(answer.hits[: len(near)])
    assert [(hit.distance, hit.listing_id) for hit in near] == sorted(
        (h.distance, h.listing_id) for h in near
    )
