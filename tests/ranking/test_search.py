"""The searcher over a real release and index: what is found, in what order, and that each knob does what it says."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from lookalike.coding.extraction import extract
from lookalike.errors import QueryError, ReleaseError
from lookalike.imaging.photos import load_square
from lookalike.index.builder import build
from lookalike.ranking.filters import Filters
from lookalike.ranking.local import MappedListings
from lookalike.ranking.request import (
    Answer,
    CategoryGuess,
    Query,
    RankingConfig,
    SearchRequest,
    expand_categories,
)
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.storage.artefacts import fetch
from tests.shop import CATEGORIES, SIDE, Listing, Shop, render, write_curated, write_release

APPEARANCE_ONLY = RankingConfig(blend=1.0, asymmetric=False, group=False)


@pytest.fixture(scope="module")
def searcher(shop: Shop) -> Searcher:
    release, index = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(release, index, threads=1)


def variant(searcher: Searcher, config: RankingConfig) -> Searcher:
    return Searcher(searcher.encoder, searcher.listings, config, aspects=searcher.aspects)


def photo(category: str, number: int) -> np.ndarray:
    return load_square(render(category, number), SIDE)


def ask(searcher: Searcher, request: SearchRequest | None = None, **query: object) -> Answer:
    (answer,) = searcher.search_all([Query(request or SearchRequest(), **query)])  # type: ignore[arg-type]
    return answer


def ids(answer: Answer) -> list[str]:
    return [hit.listing_id for hit in answer.hits]


def test_a_listings_own_photo_finds_it_first(searcher: Searcher) -> None:
    plain = variant(searcher, APPEARANCE_ONLY)
    answer = ask(plain, photo=photo("home/vase", 5))
    assert answer.hits[0].listing_id == "3-005"
    assert answer.hits[0].distance <= 4
    assert answer.categories[0].category == "home/vase"
    assert answer.categories[0].opened
    assert [hit.score for hit in answer.hits] == sorted((hit.score for hit in answer.hits), reverse=True)


def test_hits_are_the_nearest_rows_of_the_opened_categories(searcher: Searcher) -> None:
    plain = variant(searcher, APPEARANCE_ONLY)
    (query,) = plain.encode([Query(photo=photo("home/lamp", 8))])
    answer = ask(plain, SearchRequest(k=30, categories=("home",)), photo=photo("home/lamp", 8))
    assert isinstance(plain.listings, MappedListings)
    everything = [
        (int(np.bitwise_count(query.code ^ part.codes[row]).sum()), part.listing_ids[row].as_py())
        for category in ("home/lamp", "home/vase")
        for part in plain.listings.index.partitions(category)
        for row in range(len(part))
    ]
    assert [(hit.distance, hit.listing_id) for hit in answer.hits] == sorted(everything)[:30]


def test_queries_asked_together_get_the_answers_they_get_alone(searcher: Searcher) -> None:
    queries = [
        Query(photo=photo("home/vase", 5)),
        Query(SearchRequest(k=5, categories=("shoes",)), photo=photo("shoes/boot", 2)),
        Query(listing_id="0-003"),
        Query(SearchRequest(filters=Filters((("mark", ("dark",)),))), photo=photo("home/vase", 7)),
        Query(SearchRequest(categories=("home/vase", "home/lamp")), photo=photo("home/vase", 9)),
    ]
    together = searcher.search_all(queries)
    for query, answer in zip(queries, together, strict=True):
        (alone,) = searcher.search_all([query])
        assert ids(answer) == ids(alone)
        assert [hit.distance for hit in answer.hits] == [hit.distance for hit in alone.hits]


def test_a_category_path_opens_all_leaves_below_it(searcher: Searcher) -> None:
    answer = ask(searcher, SearchRequest(k=100, categories=("clothing",)), photo=photo("home/vase", 5))
    assert {hit.category for hit in answer.hits} == {"clothing/tops/shirt", "clothing/tops/vest"}
    assert {c.category for c in answer.categories if c.opened} == {
        "clothing/tops/shirt",
        "clothing/tops/vest",
    }
    assert answer.scanned == 48


@pytest.mark.parametrize(
    ("wanted", "opened"),
    [
        (["shoes"], ["shoes"]),
        (["shoes/"], ["shoes", "shoes/boot", "shoes/boot/high"]),
        (["shoes/boot"], ["shoes/boot"]),
        (["shoes/boot/", "shoes/boot"], ["shoes/boot", "shoes/boot/high"]),
        (["home", "shoes"], ["home/vase", "shoes"]),
        (["home/vase/"], ["home/vase"]),
    ],
)
def test_a_leaf_that_has_leaves_below_it_can_be_chosen_alone_and_with_them(
    wanted: list[str], opened: list[str]
) -> None:
    known = ["home/vase", "shoes", "shoes/boot", "shoes/boot/high", "shoestring"]
    assert list(expand_categories(wanted, known)) == opened


def test_routing_opens_more_categories_for_more_mass(searcher: Searcher) -> None:
    query = photo("home/vase", 5)
    one = ask(variant(searcher, RankingConfig(maximum_categories=1)), photo=query)
    everything = ask(variant(searcher, RankingConfig(probability_mass=1, maximum_categories=0)), photo=query)
    assert one.scanned == 24
    assert everything.scanned == 24 * len(CATEGORIES)


def test_grouping_shows_each_product_once_and_still_fills_k(searcher: Searcher) -> None:
    request = SearchRequest(k=12)
    config = RankingConfig(candidates=12)
    grouped = ask(variant(searcher, config), request, photo=photo("home/vase", 5))
    groups = [hit.group for hit in grouped.hits]
    assert len(groups) == len(set(groups)) == 12, (
        "24 listings are 12 products: more must be scanned to find all"
    )
    plain = ask(
        variant(searcher, dataclasses.replace(config, group=False)), request, photo=photo("home/vase", 5)
    )
    assert len({hit.group for hit in plain.hits}) < 12


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        (Filters((("mark", ("dark",)),)), lambda row: row.aspects["mark"] == ["dark"]),
        (Filters((("material", ("wool",)),)), lambda row: "wool" in row.aspects["material"]),
        (Filters((("brand", ("Acme", "Bolt")),)), lambda row: row.aspects["brand"] in (["Acme"], ["Bolt"])),
        (
            Filters((("mark", ("dark",)), ("brand", ("Bolt",)))),
            lambda row: row.aspects["mark"] == ["dark"] and row.aspects["brand"] == ["Bolt"],
        ),
        (Filters(price_from=10, price_to=20), lambda row: row.price is not None and 10 <= row.price <= 20),
        (Filters(price_to=9.5), lambda row: row.price is not None and row.price <= 9.5),
        (Filters((("mark", ("purple",)),)), lambda row: False),
    ],
)
def test_filters_let_through_exactly_the_listings_that_fit(
    searcher: Searcher, shop: Shop, filters: Filters, passes: Callable[[Listing], bool]
) -> None:
    config = RankingConfig(probability_mass=1, maximum_categories=0, group=False)
    answer = ask(
        variant(searcher, config), SearchRequest(k=200, filters=filters), photo=photo("home/vase", 5)
    )
    assert sorted(ids(answer)) == [row.listing_id for row in shop.listings if passes(row)]


def test_the_values_of_an_aspect_are_in_memory_once_for_all_categories(searcher: Searcher) -> None:
    listings = searcher.listings
    assert isinstance(listings, MappedListings)
    texts: dict[str, set[int]] = {}
    for part in (p for category in CATEGORIES for p in listings.index.partitions(category)):
        for row in range(len(part)):
            for value in listings.stated(part).of_rows(np.array([row]), ["mark", "brand"])[0].values():
                texts.setdefault(value[0], set()).add(id(value[0]))
    assert set(texts) == {"dark", "light", "Acme", "Bolt", "Crane"}
    assert max(map(len, texts.values())) <= 2, "one for each segment, of which there are two"


def test_more_like_a_listing_leaves_out_its_own_product(searcher: Searcher) -> None:
    answer = ask(searcher, listing_id="3-005")
    assert not {"3-004", "3-005"} & set(ids(answer)), "both are of the same product"
    assert answer.hits[0].category == "home/vase"
    assert answer.categories[0].probability == 1
    assert "encode" not in answer.milliseconds, "its code is in the index"


def test_more_like_a_listing_looks_in_a_category_that_the_model_does_not_know(shop: Shop) -> None:
    newer = tuple(
        dataclasses.replace(row, category="shoes/clog") if row.category == "shoes/boot" else row
        for row in shop.listings
    )
    searcher = searcher_of(shop, newer)
    answer = ask(searcher, SearchRequest(k=50), listing_id="4-005")
    assert {hit.category for hit in answer.hits} == {"shoes/clog"}
    assert answer.scanned == 24
    assert answer.categories[0] == CategoryGuess("shoes/clog", 1.0, True)
    elsewhere = ask(searcher, SearchRequest(categories=("home/vase",)), listing_id="4-005")
    assert {hit.category for hit in elsewhere.hits} == {"home/vase"}


def searcher_of(shop: Shop, listings: tuple[Listing, ...]) -> Searcher:
    """The shop's release with an index of other listings."""
    curated = write_curated(shop.store, listings, shop.cache_dir)
    extraction = extract(shop.store, curated, shop.release, cache_dir=shop.cache_dir, threads=1)
    index = build(shop.store, curated, extraction, cache_dir=shop.cache_dir)
    return open_searcher(
        *(fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, index)), threads=1
    )


def test_excluded_listings_are_not_answered(searcher: Searcher) -> None:
    first = ids(ask(searcher, photo=photo("home/vase", 5)))[0]
    again = ask(searcher, SearchRequest(exclude=frozenset({first})), photo=photo("home/vase", 5))
    assert first not in ids(again)


def test_the_asymmetric_score_orders_within_what_hamming_found(searcher: Searcher) -> None:
    plain = variant(searcher, APPEARANCE_ONLY)
    finer = variant(searcher, dataclasses.replace(APPEARANCE_ONLY, asymmetric=True))
    query = photo("shoes/boot", 11)
    by_bits, by_activations = ask(plain, photo=query), ask(finer, photo=query)
    assert set(ids(by_bits)) == set(ids(by_activations))
    assert len({hit.score for hit in by_activations.hits}) > len({hit.score for hit in by_bits.hits})


def test_aspects_move_listings_that_fit_up_and_are_named(searcher: Searcher) -> None:
    config = RankingConfig(group=False, reward_points={"mark": 5, "brand": 0})
    query = photo("home/vase", 8)
    looks = ask(variant(searcher, dataclasses.replace(config, blend=1.0)), photo=query)
    details = ask(variant(searcher, config), SearchRequest(blend=0.0), photo=query)
    predicted = details.aspects["mark"][0][0]
    assert predicted == "dark"
    fits = [hit.matched_aspects.get("mark") == predicted for hit in details.hits]
    assert fits == sorted(fits, reverse=True), "with aspects alone, those that fit come first"
    assert ids(looks) != ids(details)
    assert all(0 <= hit.score <= 1 for hit in (*looks.hits, *details.hits))


def test_what_cannot_be_searched_is_a_query_error(searcher: Searcher) -> None:
    for query in (
        Query(SearchRequest(categories=("garden/gnome",)), photo=photo("home/vase", 1)),
        Query(SearchRequest(categories=("home/vas",)), photo=photo("home/vase", 1)),
        Query(listing_id="no such listing"),
        Query(SearchRequest(filters=Filters((("marks", ("dark",)),))), photo=photo("home/vase", 1)),
    ):
        with pytest.raises(QueryError):
            searcher.check(query)
        with pytest.raises(QueryError):
            searcher.search_all([query])
    for bad in ({"k": 0}, {"k": 201}, {"blend": 1.5}):
        with pytest.raises(QueryError):
            SearchRequest(**bad)  # type: ignore[arg-type]
    with pytest.raises(QueryError):
        Query()
    with pytest.raises(QueryError):
        Filters(price_from=5, price_to=4)


def test_a_release_and_an_index_of_another_do_not_open(shop: Shop) -> None:
    other = write_release(shop.store, shop.listings, shop.cache_dir, seed=9)
    index = fetch(shop.store, shop.index, shop.cache_dir)
    with pytest.raises(ReleaseError, match="built for"):
        open_searcher(fetch(shop.store, other, shop.cache_dir), index, threads=1)


def test_appearance_is_measured_among_the_candidates_or_by_the_code(searcher: Searcher) -> None:
    looks = RankingConfig(blend=1, asymmetric=False, group=False)
    relative = ask(variant(searcher, looks), photo=photo("home/vase", 5))
    assert relative.hits[0].score == 1
    assert relative.hits[-1].score < 0.3
    absolute = ask(variant(searcher, dataclasses.replace(looks, relative=False)), photo=photo("home/vase", 5))
    assert ids(absolute) == ids(relative)
    bits = searcher.card.bits
    assert [hit.score for hit in absolute.hits] == [
        pytest.approx(1 - hit.distance / bits, abs=1e-6) for hit in absolute.hits
    ]
    alike = ask(variant(searcher, looks), SearchRequest(k=1), listing_id="3-005")
    assert alike.hits[0].score == 1


def test_aspects_that_a_category_never_states_are_not_predicted(shop: Shop, searcher: Searcher) -> None:
    assert "mark" in ask(searcher, photo=photo("home/vase", 7)).aspects
    bare = tuple(
        dataclasses.replace(row, aspects=row.aspects | {"mark": []}) if row.category == "home/vase" else row
        for row in shop.listings
    )
    without = searcher_of(shop, bare)
    assert "mark" not in ask(without, photo=photo("home/vase", 7)).aspects
    assert "mark" in ask(without, photo=photo("home/lamp", 7)).aspects
