"""An answer is one order of the listings, of which k and offset cut a piece."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lookalike.errors import QueryError
from lookalike.imaging.photos import load_square
from lookalike.ranking.filters import Filters
from lookalike.ranking.request import Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.storage.artefacts import fetch
from tests.shop import CATEGORIES, SIDE, Shop, render


@pytest.fixture(scope="module", params=[4, 30, 300])
def searcher(shop: Shop, request: pytest.FixtureRequest) -> Searcher:
    """One whose first step has so many candidates: fewer than an answer, or all."""
    config = RankingConfig(candidates=request.param)
    artefacts = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(*artefacts, config, threads=1)


def requests() -> list[SearchRequest]:
    """Searches of every kind, drawn with a seed."""
    rng = np.random.default_rng(7)
    drawn = []
    for _ in range(12):
        everything = bool(rng.random() < 0.3)
        drawn.append(
            SearchRequest(
                categories=() if everything or rng.random() < 0.4 else tuple(rng.permutation(CATEGORIES)[:3]),
                everything=everything,
                filters=Filters((("mark", ("dark",)),)) if rng.random() < 0.4 else Filters(),
                text=str(rng.choice(["", "", "in dark, of Acme", "not wool", "as a vase"])),
                blend=float(rng.choice([0, 0.5, 1])),
                exclude=frozenset({"0-000", "3-001"}) if rng.random() < 0.5 else frozenset(),
            )
        )
    return drawn


def test_fewer_hits_are_the_first_of_more_and_pages_follow_one_another(searcher: Searcher) -> None:
    photos = [load_square(render(category, 3), SIDE) for category in CATEGORIES]
    for number, request in enumerate(requests()):
        for query in (Query(request, photo=photos[number % 6]), Query(request, listing_id="3-004")):

            def ask(query: Query = query, request: SearchRequest = request, **cut: int) -> list[str]:
                (answer,) = searcher.search_all([replace(query, request=replace(request, **cut))])
                scores = [hit.score for hit in answer.hits]
                assert scores == sorted(scores, reverse=True)
                return [hit.listing_id for hit in answer.hits]

            whole = ask(k=200)
            assert len(set(whole)) == len(whole)
            for k in (1, 3, 10, 37):
                assert ask(k=k) == whole[:k]
            assert ask(k=5, offset=5) == whole[5:10]
            assert ask(k=7, offset=len(whole) - 2) == whole[-2:]
            assert ask(k=7, offset=len(whole)) == []


def test_an_answer_ends_where_pages_end() -> None:
    SearchRequest(k=200, offset=800)
    with pytest.raises(QueryError, match="at most 1000, not 1001"):
        SearchRequest(k=200, offset=801)
