"""Predicted aspects count only where the release was seen to know them, and tick only where it was seen to be sure."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from lookalike.coding.encoder import OpenVinoEncoder
from lookalike.errors import SettingsError
from lookalike.imaging.photos import load_square
from lookalike.ranking.request import Answer, Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.ranking.trust import at_least, trusted
from lookalike.storage.artefacts import fetch
from tests.shop import SIDE, Shop, render

CONFIG = RankingConfig()


def measured(accuracy: float, majority: float, held_out: int = 1000, **more: Any) -> dict[str, Any]:
    return {"accuracy": accuracy, "majority": majority, "held_out": held_out} | more


@pytest.mark.parametrize(
    ("metrics", "known"),
    [
        (measured(0.6, 0.4), True),
        (measured(0.44, 0.4), False),
        (measured(0.16, 0.22), False),
        (measured(0.6, 0.4, 10), False),  # six of ten against four
        (measured(1.0, 0.4, 10), True),
        (measured(1.0, 0.5, 2), False),
        (measured(1.0, 0.0, 0), False),
        ({"held_out": 0, "rows": 500}, False),
        ({"left_out": "12 rows; 40 are needed"}, False),
        ({}, False),
    ],
)
def test_an_aspect_earns_points_where_it_beats_guessing_by_a_margin_and_not_by_luck(
    metrics: dict[str, Any], known: bool
) -> None:
    assert ("colour" in trusted({"colour": metrics}, CONFIG)) is known


@pytest.mark.parametrize(
    ("sure", "least"),
    [
        ([(0.3, 100, 60), (0.5, 80, 70), (0.9, 40, 39)], 0.5),
        ([(0.3, 100, 95), (0.5, 80, 80), (0.9, 0, 0)], 0.3),
        ([(0.3, 100, 40), (0.5, 50, 30), (0.9, 3, 3)], math.inf),  # three of three may be luck
        ([], math.inf),
    ],
)
def test_a_tick_needs_a_probability_at_which_predictions_were_right(
    sure: list[tuple[float, int, int]], least: float
) -> None:
    config = RankingConfig(tick_share=0.7)
    assert trusted({"colour": measured(0.6, 0.2, sure=sure)}, config)["colour"].sure_from == least


def test_a_release_of_an_earlier_version_earns_points_and_no_ticks() -> None:
    assert trusted({"colour": measured(0.6, 0.2)}, CONFIG)["colour"].sure_from == math.inf
    assert trusted({}, CONFIG) == {}


def test_skill_is_the_share_of_the_way_from_guessing_to_knowing() -> None:
    assert trusted({"colour": measured(0.6, 0.2)}, CONFIG)["colour"].skill == pytest.approx(0.5)
    assert trusted({"colour": measured(1.0, 0.2)}, CONFIG)["colour"].skill == 1


def test_the_lower_end_of_a_share() -> None:
    assert at_least(0, 0) == 0
    assert at_least(0, 10) == pytest.approx(0, abs=1e-9)
    assert at_least(10, 10) == pytest.approx(0.787, abs=0.001)  # 1 / (1 + 1.645^2 / 10)
    assert at_least(50, 100) == pytest.approx(0.419, abs=0.001)
    with pytest.raises(SettingsError, match="tick_share"):
        RankingConfig(tick_share=1.5)


@pytest.fixture(scope="module")
def searcher(shop: Shop) -> Searcher:
    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(release, index, threads=1)


def ask(searcher: Searcher, **query: Any) -> Answer:
    (answer,) = searcher.search_all([Query(SearchRequest(k=50), **query)])
    return answer


def test_an_aspect_that_photos_do_not_show_neither_moves_nor_ticks_a_hit(searcher: Searcher) -> None:
    brand = searcher.card.metrics["aspects"]["brand"]
    assert brand["accuracy"] < brand["majority"] + 0.05, "brands are dealt out by number"
    answers = [ask(searcher, photo=load_square(render("home/vase", n), SIDE)) for n in range(24)]
    assert all("brand" not in answer.aspects for answer in answers)
    assert not any("brand" in hit.matched_aspects for answer in answers for hit in answer.hits)
    ticks = [
        hit.matched_aspects["mark"] == ("dark" if n // 2 % 2 == 0 else "light")
        for n, answer in enumerate(answers)
        for hit in answer.hits
        if "mark" in hit.matched_aspects
    ]
    assert len(ticks) > 100, "what is dark in the photo can be seen"
    assert sum(ticks) / len(ticks) > 0.9


def test_a_listing_as_query_keeps_all_its_ticks(searcher: Searcher) -> None:
    answer = ask(searcher, listing_id="3-002")
    assert set(answer.aspects) == {"mark", "brand", "material"}
    assert any("brand" in hit.matched_aspects for hit in answer.hits)


def test_a_release_that_measured_nothing_is_trusted_with_nothing(searcher: Searcher) -> None:
    assert isinstance(searcher.encoder, OpenVinoEncoder)
    card = dataclasses.replace(searcher.card, metrics={})
    old = OpenVinoEncoder(card, searcher.encoder._model)
    answer = ask(
        Searcher(old, searcher.listings, aspects=searcher.aspects),
        photo=load_square(render("home/vase", 7), SIDE),
    )
    assert answer.hits
    assert answer.aspects == {}
    assert not any(hit.matched_aspects for hit in answer.hits)
