"""Where the category is unsure, some hits are of other categories, by look alone; and everything can be searched."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lookalike.errors import QueryError
from lookalike.imaging.photos import load_square
from lookalike.ranking import beyond
from lookalike.ranking.request import Answer, Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.storage.artefacts import fetch
from tests.shop import CATEGORIES, SIDE, Shop, render

PHOTO = load_square(render("home/vase", 5), SIDE)


@pytest.fixture(scope="module")
def searcher(shop: Shop) -> Searcher:
    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(release, index, threads=1)


def asked(searcher: Searcher, request: SearchRequest | None = None, **config: object) -> Answer:
    changed = dataclasses.replace(RankingConfig(maximum_categories=1), **config)  # type: ignore[arg-type]
    variant = Searcher(searcher.encoder, searcher.listings, changed, aspects=searcher.aspects)
    return variant.search_all([Query(request or SearchRequest(k=9), photo=PHOTO)])[0]


def test_every_third_hit_of_an_unsure_query_is_of_what_was_not_opened(searcher: Searcher) -> None:
    answer = asked(searcher, unsure=1.0)
    opened = {guess.category for guess in answer.categories if guess.opened}
    assert [hit.beyond for hit in answer.hits] == [False, False, True] * 3
    assert [hit.category in opened for hit in answer.hits] == [True, True, False] * 3
    assert len({hit.group for hit in answer.hits}) == 9
    assert answer.scanned == 24 * len(CATEGORIES)
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)


def test_a_sure_query_and_one_with_chosen_categories_have_none(searcher: Searcher) -> None:
    for answer in (
        asked(searcher, unsure=0.0),
        asked(searcher, SearchRequest(k=9, categories=("home/vase",)), unsure=1.0),
    ):
        assert not any(hit.beyond for hit in answer.hits)
        assert answer.scanned == 24


def test_everything_is_searched_on_request_and_nothing_comes_twice(searcher: Searcher) -> None:
    answer = asked(searcher, SearchRequest(k=30, everything=True), unsure=0.0)
    assert len({hit.listing_id for hit in answer.hits}) == len({hit.group for hit in answer.hits}) == 30
    assert any(hit.beyond for hit in answer.hits)
    assert answer.scanned == 24 * len(CATEGORIES)
    with pytest.raises(QueryError, match="everything"):
        SearchRequest(everything=True, categories=("home",))


def test_hits_from_beyond_have_the_distance_of_the_whole_code(searcher: Searcher) -> None:
    config = RankingConfig(unsure=1.0, maximum_categories=1)
    of_64 = Searcher(searcher.encoder, searcher.listings, config)
    of_64.card = dataclasses.replace(searcher.card, category_bits=64)
    (query,) = of_64.encode([Query(photo=PHOTO)])
    (answer,) = of_64.rank([query], [SearchRequest(k=9)])
    far = [hit for hit in answer.hits if hit.beyond]
    assert far
    for hit in far:
        found = searcher.listings.find(hit.listing_id)
        assert found is not None
        assert hit.distance == np.bitwise_count(query.code ^ found[1]).sum()


def test_what_a_code_says_of_the_category_does_not_move_hits_from_beyond(searcher: Searcher) -> None:
    (query,) = searcher.encode([Query(photo=PHOTO)])
    flipped = np.unpackbits(query.code)
    flipped[:64] ^= 1
    other = dataclasses.replace(query, code=np.packbits(flipped))
    one, two = (beyond.by_look(each, 64) for each in (query, other))
    assert (one.code == two.code).all()
    assert (one.bit_probabilities[:64] == 0.5).all()
    assert (np.unpackbits(one.code)[64:] == np.unpackbits(query.code)[64:]).all()
