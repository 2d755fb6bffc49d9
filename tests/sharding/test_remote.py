"""Rankers give, together, the very answers that one process gives, and go on when some of them do not."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from lookalike.errors import ServiceBusy
from lookalike.imaging.photos import load_square
from lookalike.ranking.filters import Filters
from lookalike.ranking.request import Answer, Query, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.sharding.fleet import Fleet, FleetConfig
from lookalike.sharding.remote import RemoteListings
from lookalike.storage.artefacts import fetch, read_manifest
from tests.serving.running import eventually
from tests.sharding.conftest import SHARDS
from tests.sharding.running import Ranker, rankers
from tests.shop import CATEGORIES, SIDE, Shop, render

TWINS = [f"{shard}/{SHARDS}" for shard in range(SHARDS)] * 2


@pytest.fixture(scope="module")
def local(city: Shop) -> Searcher:
    release, index = (fetch(city.store, ref, city.cache_dir) for ref in (city.release, city.index))
    return open_searcher(release, index, threads=1)


@pytest.fixture
def fleet_of(city: Shop) -> Iterator[list[Ranker]]:
    with rankers(city.store, city.cache_dir, TWINS) as running:
        eventually(lambda: all(r.service.lifecycle.readiness()[0] for r in running))
        yield running


@pytest.fixture
def deadline() -> float:
    """Seconds; long, since this machine may be busy with other things."""
    return 30.0


@pytest.fixture
def remote(city: Shop, local: Searcher, fleet_of: list[Ranker], deadline: float) -> Iterator[Searcher]:
    """The searcher of a front, with the local one's encoder."""
    urls = tuple(ranker.wire.url for ranker in fleet_of)
    fleet = Fleet(FleetConfig(urls, deadline_seconds=deadline, poll_seconds=0.1, hedge_seconds=0.2))
    fleet.start()
    try:
        listings = RemoteListings(fleet, city.index, read_manifest(city.store, city.index))
        yield variant(local, listings)
    finally:
        fleet.stop()


def variant(searcher: Searcher, listings: object, config: RankingConfig | None = None) -> Searcher:
    config = config or RankingConfig(candidates=100)
    return Searcher(searcher.encoder, listings, config, aspects=searcher.aspects)  # type: ignore[arg-type]


def many_queries(count: int) -> list[Query]:
    """Photos and listings with every kind of request."""
    rng = np.random.default_rng(3)
    requests = [
        SearchRequest(k=100),
        SearchRequest(k=100, categories=tuple(CATEGORIES)),
        SearchRequest(k=100, categories=("home", "shoes/boot"), blend=0.3),
        SearchRequest(k=100, filters=Filters((("mark", ("dark",)), ("brand", ("Acme", "Bolt"))))),
        SearchRequest(k=100, categories=("clothing",), filters=Filters((), 10, 40)),
        SearchRequest(k=100, filters=Filters((("mark", ("purple",)),))),
        SearchRequest(k=100, text="light, like a boot, but not wool"),
        SearchRequest(k=5, exclude=frozenset({"0-001", "3-005"}), blend=1.0),
        SearchRequest(k=1, categories=("home/vase",)),
        SearchRequest(k=100, categories=("home", "shoes"), sort="price", facets=True),
        SearchRequest(k=100, sort="-weight", filters=Filters(ranges=(("weight", 2.0, 25.0),))),
        SearchRequest(
            facets=True,
            categories_not=("shoes",),
            exclude_groups=frozenset({"home/vase#3"}),
            filters=Filters(labels=(("seller", ("North",)),), ranges=(("price", 8.0, None),)),
        ),
    ]
    queries = []
    for number in range(count):
        request = requests[number % len(requests)]
        c, n = int(rng.integers(len(CATEGORIES))), int(rng.integers(40))
        if number % 3 == 2:
            queries.append(Query(request, listing_id=f"{c}-{n:03d}"))
        else:
            queries.append(
                Query(request, photo=load_square(render(CATEGORIES[c], n + 40 * (number % 2)), SIDE))
            )
    return queries


def same(ours: Sequence[Answer], theirs: Sequence[Answer]) -> int:
    """How many answers are equal in everything but the time they took."""
    timeless = [[dataclasses.replace(a, milliseconds={}) for a in answers] for answers in (ours, theirs)]
    return sum(a == b for a, b in zip(*timeless, strict=True))


def in_batches(searcher: Searcher, queries: Sequence[Query], size: int = 5) -> list[Answer]:
    return [a for i in range(0, len(queries), size) for a in searcher.search_all(queries[i : i + size])]


def test_through_rankers_every_photo_of_the_catalogue_finds_itself_first(
    city: Shop, local: Searcher, remote: Searcher
) -> None:
    some = city.listings[::7]
    queries = [Query(SearchRequest(k=3, blend=0.1), photo=load_square(row.photo, SIDE)) for row in some]
    ours, theirs = in_batches(local, queries), in_batches(remote, queries)
    assert [answer.hits[0].group for answer in theirs] == [row.product for row in some]
    assert {answer.hits[0].distance for answer in theirs} == {0}
    assert [[hit.listing_id for hit in a.hits] for a in ours] == [
        [hit.listing_id for hit in a.hits] for a in theirs
    ]


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (RankingConfig(candidates=100), 200),
        (
            RankingConfig(
                candidates=7, asymmetric=False, relative=False, probability_mass=1, maximum_categories=0
            ),
            48,
        ),
        (RankingConfig(candidates=10, group=False), 48),
    ],
    ids=["as configured", "few candidates, all categories", "no grouping"],
)
def test_queries_get_the_answers_of_one_process(
    local: Searcher, remote: Searcher, config: RankingConfig, count: int
) -> None:
    queries = many_queries(count)
    whole = in_batches(variant(local, local.listings, config), queries)
    parts = in_batches(variant(local, remote.listings, config), queries)
    assert same(whole, parts) == count
    assert sum(len(a.hits) for a in whole) > 20 * count
    assert not any(a.missing_shards for a in parts)


def test_the_index_as_a_whole_is_described_as_by_one_process(local: Searcher, remote: Searcher) -> None:
    assert remote.summary == dataclasses.replace(local.summary, preset=dict(local.summary.preset))
    for listing_id in ("0-000", "3-017", "5-039"):
        ours, theirs = local.listings.find(listing_id), remote.listings.find(listing_id)
        assert ours is not None
        assert theirs is not None
        assert ours[0] == theirs[0]
        assert (ours[1] == theirs[1]).all()
    assert remote.listings.find("no such listing") is None


def test_a_replica_that_dies_under_load_fails_no_query(
    local: Searcher, remote: Searcher, fleet_of: list[Ranker]
) -> None:
    queries = many_queries(120)
    whole = in_batches(variant(local, local.listings), queries)
    parts: list[Answer] = []
    thread = threading.Thread(target=lambda: parts.extend(in_batches(remote, queries)))
    thread.start()
    eventually(lambda: fleet_of[1].service.metrics.batch_queries._sum.get() > 20)
    fleet_of[1].wire.cut()
    thread.join()
    assert same(whole, parts) == 120


def test_a_shard_that_nobody_holds_is_missing_and_named(
    local: Searcher, remote: Searcher, fleet_of: list[Ranker], city: Shop
) -> None:
    for ranker in fleet_of[2], fleet_of[2 + SHARDS]:
        ranker.wire.cut()
    photo = load_square(render("home/vase", 5), SIDE)
    request = SearchRequest(k=60, categories=("home/vase",))
    (answer,) = remote.search_all([Query(request, photo=photo)])
    assert answer.missing_shards == (2,)
    config = RankingConfig(candidates=200, group=False)
    (rest,) = variant(local, remote.listings, config).search_all([Query(request, photo=photo)])
    (whole,) = variant(local, local.listings, config).search_all([Query(request, photo=photo)])
    there = {ranker_listing for r in fleet_of[:2] for ranker_listing in listing_ids(r, city)}
    assert [h.listing_id for h in rest.hits] == [h.listing_id for h in whole.hits if h.listing_id in there]
    assert 0 < len(rest.hits) < len(whole.hits)
    with pytest.raises(ServiceBusy, match="may be in a shard"):
        remote.listings.find("no such listing")


def listing_ids(ranker: Ranker, shop: Shop) -> list[str]:
    (listings,) = ranker.service.lifecycle._held[shop.index].shards.values()
    index = listings.index
    return [i for c in index.categories for p in index.partitions(c) for i in p.listing_ids.to_pylist()]


def test_a_slow_replica_is_overtaken_by_its_twin(remote: Searcher, fleet_of: list[Ranker]) -> None:
    photo = load_square(render("home/vase", 5), SIDE)
    for ranker in fleet_of[:SHARDS]:
        ranker.wire.clog()
    started = time.monotonic()
    (answer,) = remote.search_all([Query(photo=photo)])
    assert not answer.missing_shards
    assert time.monotonic() - started < 15, "well before the deadline"


@pytest.mark.parametrize("deadline", [3.0])
def test_where_both_twins_are_slow_the_deadline_holds(remote: Searcher, fleet_of: list[Ranker]) -> None:
    photo = load_square(render("home/vase", 5), SIDE)
    for ranker in fleet_of[1], fleet_of[1 + SHARDS]:
        ranker.wire.clog()
    started = time.monotonic()
    (answer,) = remote.search_all([Query(SearchRequest(k=5), photo=photo)])
    assert answer.missing_shards == (1,)
    assert len(answer.hits) == 5
    assert 2.9 < time.monotonic() - started < 15
    for ranker in fleet_of:
        ranker.wire.clear()
    eventually(lambda: not remote.search_all([Query(photo=photo)])[0].missing_shards)


def test_without_any_ranker_a_search_is_refused(remote: Searcher, fleet_of: list[Ranker]) -> None:
    for ranker in fleet_of:
        ranker.wire.cut()
    with pytest.raises(ServiceBusy, match="no ranker answers"):
        remote.search_all([Query(photo=load_square(render("home/vase", 5), SIDE))])
