"""Words beside a photo: what they are taken to mean, and that listings which fulfil them come first."""

from __future__ import annotations

import dataclasses

import pytest

from lookalike.errors import QueryError
from lookalike.imaging.photos import load_square
from lookalike.ranking.filters import Filters
from lookalike.ranking.request import Answer, Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.ranking.words import TextConfig, Vocabulary, Wish
from lookalike.storage.artefacts import fetch
from tests.shop import SIDE, Shop, render

VALUES = {
    "colour": {"red": 5, "Rosé": 1, "grün": 2, "rojo": 1, "gold": 1, "紅色": 1, "grey": 3, "लाल": 1},
    "material": {"gold": 2, "faux leather": 1, "leather": 4},
    "age": {"kids": 3, "adults": 9},
    "size": {"41": 2},
}
LEAVES = ("clothing/T-shirts", "shoes/boot", "shoes/sandals")


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary(VALUES, LEAVES, TextConfig(synonyms={"crimson": "red", "footwear": "shoes"}))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("this in red", [("colour", "red")]),
        ("for kids", [("age", "kids")]),
        ("for a kid, please", [("age", "kids")]),
        ("ROSÉ", [("colour", "Rosé")]),
        ("rose", [("colour", "Rosé")]),
        ("grünes", [("colour", "grün")]),
        ("aus Faux-Leather", [("material", "faux leather")]),
        ("CRIMSON!", [("colour", "red")]),
        ("en rojos", [("colour", "rojo")]),
        ("這個紅色", [("colour", "紅色")]),
        ("लाल", [("colour", "लाल")]),
        ("size 41", [("size", "41")]),
        ("red leather", [("colour", "red"), ("material", "leather")]),
    ],
)
def test_words_are_the_catalogues_own(
    vocabulary: Vocabulary, text: str, named: list[tuple[str, str]]
) -> None:
    wishes = vocabulary.understand(text).wishes
    assert [(name, value) for wish in wishes for name, (value,) in wish.aspects] == named


def test_a_word_of_several_meanings_is_fulfilled_by_any(vocabulary: Vocabulary) -> None:
    (wish,) = vocabulary.understand("gold").wishes
    assert wish.aspects == (("colour", ("gold",)), ("material", ("gold",)))


def test_categories_are_named_by_any_part_of_their_path(vocabulary: Vocabulary) -> None:
    understood = vocabulary.understand("boots or footwear or a t-shirt, sandal")
    assert [(wish.words, wish.categories) for wish in understood.wishes] == [
        ("boots", ("shoes/boot",)),
        ("footwear", ("shoes/boot", "shoes/sandals")),
        ("t shirt", ("clothing/T-shirts",)),
        ("sandal", ("shoes/sandals",)),
    ]


def test_what_is_not_understood_is_said_as_it_was_written(vocabulary: Vocabulary) -> None:
    understood = vocabulary.understand("this Sofa in red, Sofa with café")
    assert understood.unknown == ("Sofa", "café")
    assert vocabulary.understand("this with a, please; size 41, colour: red").unknown == ()
    assert not vocabulary.understand(" \n")
    assert not vocabulary.understand("!? <b>")


def test_not_asks_for_others(vocabulary: Vocabulary) -> None:
    understood = vocabulary.understand("grey but not in leather")
    assert [(wish.words, wish.against) for wish in understood.wishes] == [("grey", False), ("leather", True)]


def test_a_text_has_its_bounds(vocabulary: Vocabulary) -> None:
    with pytest.raises(QueryError, match="text: at most 200 characters, not 201"):
        SearchRequest(text="a" * 201)
    many = vocabulary.understand("red kids " * 20)
    assert len(many.wishes) == 8
    assert many.unknown == ("red", "kids")


@pytest.fixture(scope="module")
def searcher(shop: Shop) -> Searcher:
    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(release, index, RankingConfig(maximum_categories=1, candidates=8), threads=1)


PHOTO = load_square(render("home/vase", 4), SIDE)


def ask(searcher: Searcher, text: str, **more: object) -> Answer:
    request = SearchRequest(k=10, text=text, **more)  # type: ignore[arg-type]
    return searcher.search_all([Query(request, photo=PHOTO)])[0]


def brands(shop: Shop, answer: Answer) -> list[list[str]]:
    stated = {row.listing_id: row.aspects["brand"] for row in shop.listings}
    return [stated[hit.listing_id] for hit in answer.hits]


def test_listings_that_fulfil_the_wish_come_first_and_the_category_is_kept(
    shop: Shop, searcher: Searcher
) -> None:
    """They are scanned for: of the eight nearest only some are of this brand."""
    plain, answer = ask(searcher, ""), ask(searcher, "this of Crane")
    products = {
        row.product
        for row in shop.listings
        if row.category == "home/vase" and row.aspects["brand"] == ["Crane"]
    }
    assert brands(shop, answer)[: len(products)] == [["Crane"]] * len(products)
    assert brands(shop, plain)[: len(products)] != [["Crane"]] * len(products)
    assert {hit.category for hit in answer.hits} == {"home/vase"}
    assert answer.hits[0].matched_aspects["brand"] == "Crane"
    scores = [hit.score for hit in answer.hits]
    assert scores == sorted(scores, reverse=True)
    assert answer.understood.wishes == (Wish("Crane", (("brand", ("Crane",)),)),)


def test_a_wish_only_prefers(searcher: Searcher) -> None:
    assert len(ask(searcher, "of Crane").hits) == len(ask(searcher, "").hits) == 10


def test_a_wish_against_puts_others_first(shop: Shop, searcher: Searcher) -> None:
    found = brands(shop, ask(searcher, "not Crane"))
    assert ["Crane"] not in found[:6]


def test_the_photo_itself_is_first_only_where_it_is_what_is_asked_for(shop: Shop, searcher: Searcher) -> None:
    own = next(row for row in shop.listings if row.listing_id == "3-004")
    (brand,) = own.aspects["brand"]
    assert ask(searcher, "").hits[0].group == ask(searcher, brand).hits[0].group == own.product
    other = "Acme" if brand != "Acme" else "Bolt"
    assert ask(searcher, other).hits[0].group != own.product


def test_a_category_that_is_named_is_searched_too(searcher: Searcher) -> None:
    answer = ask(searcher, "as a lamp")
    assert answer.hits[0].category == "home/lamp"
    fixed = ask(searcher, "as a lamp", categories=("home/vase",))
    assert {hit.category for hit in fixed.hits} == {"home/vase"}


def test_filters_hold_for_what_is_scanned_further(shop: Shop, searcher: Searcher) -> None:
    answer = ask(searcher, "Crane", filters=Filters((("mark", ("dark",)),)))
    stated = {row.listing_id: row.aspects for row in shop.listings}
    assert {stated[hit.listing_id]["mark"][0] for hit in answer.hits} == {"dark"}
    assert stated[answer.hits[0].listing_id]["brand"] == ["Crane"]


def test_without_weight_a_text_changes_no_order(searcher: Searcher) -> None:
    config = dataclasses.replace(searcher.config, text=TextConfig(weight=0), candidates=300, blend=1.0)
    deaf = Searcher(searcher.encoder, searcher.listings, config, aspects=searcher.aspects)
    without, within = ask(deaf, ""), ask(deaf, "not Crane")
    assert [hit.listing_id for hit in within.hits][1:] == [hit.listing_id for hit in without.hits][1:]
