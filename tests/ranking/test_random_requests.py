"""A thousand random searches: any k and offset cut a piece of one answer, and what comes back is what was asked for."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lookalike.imaging.photos import load_square
from lookalike.ranking.filters import Choices, Filters
from lookalike.ranking.request import Answer, Query, RankingConfig, SearchRequest, expand_categories
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.storage.artefacts import fetch
from tests.shop import CATEGORIES, SIDE, Listing, Shop, render

Rng = np.random.Generator
VALUES = {
    "mark": ("dark", "light"),
    "brand": ("Acme", "Bolt", "Crane", "none has it"),
    "material": ("cotton", "wool"),
}
LABELS = {"seller": ("North", "South"), "availability": ("in stock", "sold out")}
REQUESTS = {10: 200, 300: 800}
"""By the size of the pool: a small one takes many steps."""
WHOLE = 60
AT_ONCE = 50


@pytest.fixture(scope="module", params=sorted(REQUESTS))
def searcher(shop: Shop, request: pytest.FixtureRequest) -> Searcher:
    """One whose pool has so many candidates: fewer than an answer, or all."""
    artefacts = (fetch(shop.store, ref, shop.cache_dir) for ref in (shop.release, shop.index))
    return open_searcher(*artefacts, RankingConfig(candidates=request.param), threads=1)


def any_request(rng: Rng, shop: Shop) -> SearchRequest:
    def sometimes(chance: float) -> bool:
        return bool(rng.random() < chance)

    def some(choices: dict[str, tuple[str, ...]], chance: float) -> Choices:
        return tuple(
            (name, tuple(sorted(rng.choice(values, rng.integers(1, 3), replace=False).tolist())))
            for name, values in choices.items()
            if sometimes(chance)
        )

    low, high = sorted(rng.integers(0, 32, 2).tolist())
    everything = sometimes(0.3)
    rows = [shop.listings[i] for i in rng.integers(len(shop.listings), size=5)]
    return SearchRequest(
        k=WHOLE,
        everything=everything,
        categories=() if everything or sometimes(0.5) else tuple(rng.permutation(CATEGORIES)[:3].tolist()),
        categories_not=(str(rng.choice(CATEGORIES)),) if sometimes(0.2) else (),
        filters=Filters(
            aspects=some(VALUES, 0.15),
            aspects_not=some(VALUES, 0.1),
            labels=some(LABELS, 0.15),
            labels_not=some(LABELS, 0.1),
            price_from=low if sometimes(0.2) else None,
            price_to=high if sometimes(0.2) else None,
            ranges=(("price", float(low), None),) if sometimes(0.1) else (),
        ),
        blend=float(rng.choice([0, 0.5, 1])) if sometimes(0.5) else None,
        colour=float(rng.choice([0, 4, 16])) if sometimes(0.3) else None,
        exclude=frozenset(row.listing_id for row in rows) if sometimes(0.3) else frozenset(),
        exclude_groups=frozenset(row.product for row in rows) if sometimes(0.3) else frozenset(),
        sort=str(rng.choice(["price", "-price"])) if sometimes(0.25) else None,  # type: ignore[arg-type]
        facets=sometimes(0.3),
    )


def test_any_page_is_a_piece_of_one_answer(searcher: Searcher, shop: Shop) -> None:
    rng = np.random.default_rng(18)
    rows = {row.listing_id: row for row in shop.listings}
    photos = [Query(photo=load_square(render(c, n), SIDE)) for c in CATEGORIES for n in (3, 40)]
    listings = [Query(listing_id=f"{c}-{n:03d}") for c in range(6) for n in (4, 17)]
    queries = searcher.encode([*photos, *listings])
    seen: Counter[str] = Counter()
    count = REQUESTS[searcher.config.candidates]
    for _ in range(count // AT_ONCE):
        asked = [queries[i] for i in rng.integers(len(queries), size=AT_ONCE)]
        requests = [any_request(rng, shop) for _ in asked]
        cuts = [(int(rng.integers(1, WHOLE // 2)), int(rng.integers(0, WHOLE // 2))) for _ in asked]
        pages = [replace(r, k=k, offset=offset) for r, (k, offset) in zip(requests, cuts, strict=True)]
        answers = searcher.rank([*asked, *asked], [*requests, *pages])
        for request, (k, offset), whole, page in zip(
            requests, cuts, answers[:AT_ONCE], answers[AT_ONCE:], strict=True
        ):
            assert page.hits == whole.hits[offset : offset + k]
            assert page.facets == whole.facets
            check(request, whole, rows)
            seen.update(kinds(request, whole))
    assert len(seen) == 11, seen
    assert min(seen.values()) > count // 50, seen


def kinds(request: SearchRequest, answer: Answer) -> dict[str, int]:
    said: dict[str, Any] = {
        "hits": answer.hits,
        "none": not answer.hits,
        "beyond": any(hit.beyond for hit in answer.hits),
        "filters": request.filters,
        "everything": request.everything,
        "categories": request.categories,
        "categories_not": request.categories_not,
        "exclude": request.exclude,
        "exclude_groups": request.exclude_groups,
        "sort": request.sort,
        "facets": request.facets,
    }
    return {name: 1 for name, found in said.items() if found}


def check(request: SearchRequest, answer: Answer, rows: dict[str, Listing]) -> None:
    """That every hit passes, nothing is shown twice, and the order is the one that was asked for."""
    groups = [hit.group for hit in answer.hits]
    assert len(set(groups)) == len(groups)
    assert not request.exclude_groups.intersection(groups)
    barred = expand_categories(request.categories_not, CATEGORIES)
    for hit in answer.hits:
        row = rows[hit.listing_id]
        assert passes(row, request.filters)
        assert row.category not in barred
        assert not request.categories or row.category in request.categories
        assert row.listing_id not in request.exclude
    if request.sort:
        prices = [hit.price for hit in answer.hits if hit.price is not None]
        assert prices == sorted(prices, reverse=request.sort == "-price")
        assert all(hit.price is None for hit in answer.hits[len(prices) :])
    else:
        scores = [hit.score for hit in answer.hits]
        assert scores == sorted(scores, reverse=True)


def passes(row: Listing, filters: Filters) -> bool:
    labels = {"seller": row.seller, "availability": row.availability}
    low = max(
        (bound for bound in (filters.price_from, *(r[1] for r in filters.ranges)) if bound is not None),
        default=None,
    )
    priced = low is not None or filters.price_to is not None
    return (
        all(set(row.aspects[name]) & set(values) for name, values in filters.aspects)
        and not any(set(row.aspects[name]) & set(values) for name, values in filters.aspects_not)
        and all(labels[name] in values for name, values in filters.labels)
        and not any(labels[name] in values for name, values in filters.labels_not)
        and (not priced or (row.price is not None and row.price >= (low or 0)))
        and (filters.price_to is None or (row.price is not None and row.price <= filters.price_to))
    )
