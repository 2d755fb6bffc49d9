"""Likeness on a scale of its own: what is said of an answer, and of each hit."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lookalike.errors import QueryError
from lookalike.imaging.photos import load_square
from lookalike.index.likeness import Likeness
from lookalike.ranking.request import Query, RankingConfig, SearchRequest
from lookalike.ranking.rescoring import Rescorer
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.ranking.similarity import (
    ALIKE,
    LITTLE,
    MUCH,
    NOT,
    SAME,
    by_shape,
    in_words,
    judge,
    shape_distances,
)
from lookalike.storage.artefacts import fetch
from tests.shop import SIDE, Shop, render

MEASURE = Likeness(tuple(float(d) for d in range(100, 201)), (0, 256), 500)


@pytest.fixture(scope="module")
def searcher(shop: Shop) -> Searcher:
    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(release, index, threads=1)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.mark.parametrize(
    ("distances", "likeness", "nothing"),
    [
        ([110, 120, 130, 140, 150], 0.7, False),
        ([190, 195, 198, 199, 199, 10_000], 0.038, True),
        ([140, 300, 300, 300, 300], 0.0, False),  # the one thing of its kind, and it is what was photographed
        ([160, 300], 0.0, True),
    ],
)
def test_an_answer_is_judged_by_its_five_nearest_and_by_the_nearest(
    distances: list[int], likeness: float, nothing: bool
) -> None:
    judged = judge(MEASURE, np.array(distances, np.int32), 0.05)
    assert judged.likeness == pytest.approx(likeness)
    assert judged.nothing_alike == nothing
    assert not judge(MEASURE, np.array(distances, np.int32), 0).nothing_alike


def test_nothing_is_said_without_a_measure_or_without_hits() -> None:
    for judged in (judge(None, np.array([5]), 0.05), judge(MEASURE, np.array([], np.int32), 0.05)):
        assert (judged.likeness, judged.nothing_alike) == (None, False)


def test_distances_in_some_bits_come_of_weights() -> None:
    rng = np.random.default_rng(3)
    query, others = rng.integers(0, 256, (2, 9, 32), np.uint8)
    expected = Rescorer(by_shape(query[0], (64, 192))).distances(others, np.arange(9))
    found = shape_distances(expected, 256, (64, 192))
    assert found.tolist() == np.bitwise_count(query[0, 8:24] ^ others[:, 8:24]).sum(axis=1).tolist()


def test_likeness_in_words() -> None:
    said = [in_words(each, 0.05, same_photo=False) for each in (0.9, 0.3, 0.06, 0.04)]
    assert said == [MUCH, ALIKE, LITTLE, NOT]
    assert in_words(0.9, 0.05, same_photo=True) == SAME
    assert in_words(0.9, 0.95, same_photo=False) == NOT


def test_a_photo_of_nothing_in_the_shop_is_told_so_and_the_shops_own_are_not(searcher: Searcher) -> None:
    own = Query(photo=load_square(render("home/vase", 5), SIDE))
    foreign = Query(photo=noise())
    mine, strange = searcher.search_all([own, foreign])
    assert not mine.judged.nothing_alike
    assert mine.hits[0].alike == SAME
    assert strange.judged.nothing_alike
    assert strange.judged.likeness == 0
    assert {hit.alike for hit in strange.hits} == {NOT}
    assert len(strange.hits) == len(mine.hits), "the nearest are answered all the same"
    shares = [hit.likeness for hit in mine.hits]
    assert all(share is not None for share in shares)


def test_the_threshold_is_the_requests_or_the_configurations(searcher: Searcher) -> None:
    never = Query(SearchRequest(least_likeness=0), photo=noise())
    assert not searcher.search_all([never])[0].judged.nothing_alike
    config = dataclasses.replace(RankingConfig(), least_likeness=0.0)
    lenient = Searcher(searcher.encoder, searcher.listings, config, aspects=searcher.aspects)
    assert not lenient.search_all([Query(photo=noise())])[0].judged.nothing_alike
    with pytest.raises(QueryError, match="least_likeness"):
        SearchRequest(least_likeness=1.5)
