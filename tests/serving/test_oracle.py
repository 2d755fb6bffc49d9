"""Whole answers of a real server against those of an oracle that shares nothing with ranking and scan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lookalike.coding.extraction import extract
from lookalike.index.builder import build
from lookalike.ranking.request import RankingConfig
from lookalike.serving.config import ServingConfig
from lookalike.storage.directory import DirectoryStore
from tests.serving.oracle import Found, Oracle
from tests.serving.running import Running, running
from tests.shop import CATEGORIES, Shop, make_listings, render, write_curated, write_release

REQUESTS = 150
NEAR = 2e-6
"""Scores are float32, shown to six places: what differs by less may be in either order."""
Rng = np.random.Generator


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop whose listings have up to three photos and sizes that are numbers, and codes with bits of all parts."""
    root = tmp_path_factory.mktemp("varied")
    store, cache = DirectoryStore(root / "store"), root / "cache"
    cache.mkdir()
    listings = tuple(
        replace(
            row,
            more_photos=tuple(render(row.category, 60 + i + extra) for extra in range(i % 3)),
            aspects=row.aspects | {"size": [("36", "37,5", "41", "one size")[i % 4]]},
        )
        for i, row in enumerate(make_listings(20))
    )
    curated = write_curated(store, listings, cache)
    release = write_release(store, listings, cache, category_bits=32, colour_bits=64)
    extraction = extract(store, curated, release, cache_dir=cache, threads=1)
    index = build(store, curated, extraction, shards=2, cache_dir=cache)
    return Shop(store, cache, listings, curated, release, index)


@pytest.fixture(scope="module", params=[10, 300])
def served(varied: Shop, request: pytest.FixtureRequest) -> Iterator[tuple[Running, Oracle]]:
    """A server whose first step ranks so many candidates: fewer than an answer has, or all; and the oracle."""
    config = ServingConfig(
        index=varied.index, notice_seconds=0, ranking=RankingConfig(candidates=request.param)
    )
    with running(varied.store, varied.cache_dir, config) as process:
        yield process, Oracle(varied, request.param)


def any_request(rng: Rng, shop: Shop) -> dict[str, Any]:
    """Parameters of a search, by their names in the API."""

    def some(*values: str) -> list[str]:
        return rng.choice(values, rng.integers(1, 3), replace=False).tolist()

    rows = [shop.listings[i] for i in rng.integers(len(shop.listings), size=4)]
    low, high = sorted(rng.integers(0, 25, 2).tolist())
    everything = rng.random() < 0.25
    offered: list[tuple[float, dict[str, Any]]] = [
        (0.25, {"aspects": some("mark=dark", "mark=light", "brand=Acme", "brand=Bolt", "material=wool")}),
        (0.15, {"aspects_not": some("mark=dark", "brand=Crane", "brand=nobody's")}),
        (0.15, {"seller": some("North", "South")}),
        (0.1, {"availability_not": ["sold out"]}),
        (0.2, {"price": f"{low}..{high}"}),
        (0.2, {"ranges": some("size=36..38", "price=10..", "weight=4..22")}),
        (0.0 if everything else 0.3, {"categories": some("clothing", "home/lamp", "shoes/boot")}),
        (0.2, {"categories_not": some("clothing/tops", "home/vase", "shoes/sandal")}),
        (0.3, {"exclude": [row.listing_id for row in rows]}),
        (0.3, {"exclude_group": [row.product for row in rows]}),
        (0.4, {"alpha": float(rng.choice([0, 0.3, 1]))}),
        (0.4, {"colour": float(rng.choice([0, 1, 16]))}),
        (0.25, {"sort": str(rng.choice(["price", "-price", "-weight"]))}),
    ]
    chosen = {"everything": "true"} if everything else {}
    for chance, parameters in offered:
        if rng.random() < chance:
            chosen |= parameters
    return chosen | {"k": int(rng.integers(1, 40)), "facets": "true"}


def test_every_answer_is_the_oracle_s(served: tuple[Running, Oracle], varied: Shop) -> None:
    process, oracle = served
    rng, seen = np.random.default_rng(18), Counter[str]()
    ids = [row.listing_id for row in varied.listings]
    for _ in range(REQUESTS):
        parameters = any_request(rng, varied)
        if rng.random() < 0.6:
            photo = render(str(rng.choice(CATEGORIES)), int(rng.integers(0, 40)))
            asked = oracle.photo(photo)
            whole = process.client.post("/v1/search", params=parameters, content=photo).json()
            again = {"query_id": whole["query_id"]}
        else:
            again = {"listing_id": str(rng.choice(ids)), "photos": str(rng.choice(["main", "all"]))}
            asked = oracle.listing(again["listing_id"], every_photo=again["photos"] == "all")
            whole = process.client.get("/v1/search", params=parameters | again).json()
        assert "hits" in whole, whole
        right = oracle.answer(asked, parameters)
        compare(whole["hits"], right, 0)
        opened = {each["category"] for each in whole["categories"] if each["opened"]}
        if "everything" not in parameters:
            assert opened == set(oracle.opened(asked, parameters))
        assert whole["facets"]["listings"] == len(oracle.pool(asked, parameters))
        k, offset = int(rng.integers(1, 20)), int(rng.integers(0, 40))
        cut = parameters | {"k": k, "offset": offset}
        page = process.client.get("/v1/search", params=cut | again).json()
        compare(page["hits"], oracle.answer(asked, cut)[offset:], offset)
        seen.update(parameters.keys())
        seen.update(next(iter(again)) for _ in whole["hits"][:1])
        seen.update({"none": not right, "pages": bool(page["hits"]), "beyond": any(h.beyond for h in right)})
    assert min(seen.values()) > REQUESTS // 40, seen


def compare(hits: list[dict[str, Any]], right: list[Found], offset: int) -> None:
    """That these are the hits, in this order, with these scores; what all but ties may be in either order."""
    assert len(hits) == len(right)
    by_id = {each.row.listing_id: each for each in right}
    for place, (hit, each) in enumerate(zip(hits, right, strict=True), offset):
        mine = by_id.get(hit["listing_id"])
        assert mine is not None, (place, hit, each)
        assert (hit["photo_id"], hit["distance"], hit["beyond"]) == (
            mine.photo.photo_id,
            mine.distance,
            mine.beyond,
        )
        assert abs(hit["score"] - mine.score) < NEAR, (place, hit, mine)
        assert mine is each or 0 < abs(mine.score - each.score) < NEAR, (place, hit, each)
