"""Every filter, over a whole index, deltas and rankers, against a plain oracle that goes through the catalogue."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from lookalike.errors import QueryError
from lookalike.index.generation import Generation
from lookalike.index.layers import open_index
from lookalike.ranking.filters import Choices, Filters, Range, number_of
from lookalike.ranking.listings import Listings, Wanted
from lookalike.ranking.local import MappedListings
from lookalike.storage.artefacts import fetch
from lookalike.storage.directory import DirectoryStore
from tests.ingest.test_deltas import (
    CATEGORIES,
    SCANNER,
    Catalogue,
    InShards,
    Row,
    code_of,
    follow,
    full_build,
    store_state,
)

BRANDS = ("x", "y", "z", "7", "12,5", "40.5", "-3")
Rng = np.random.Generator


def any_row(rng: Rng) -> Row:
    return Row(
        photo=int(rng.integers(41)),
        more=tuple(rng.integers(41, size=rng.integers(3)).tolist()),
        category=str(rng.choice(CATEGORIES)),
        price=float(rng.integers(1, 10)) if rng.random() < 0.7 else None,
        brands=tuple(rng.choice(BRANDS, size=rng.integers(3), replace=False).tolist()),
        seller=None if rng.random() < 0.3 else f"s{rng.integers(3)}",
        availability=None if rng.random() < 0.3 else str(rng.choice(["in stock", "sold"])),
    )


def any_filters(rng: Rng) -> Filters:
    def some(names: tuple[str, ...], values: tuple[str, ...]) -> Choices:
        return tuple(
            (name, tuple(rng.choice(values, size=rng.integers(1, 3)).tolist()))
            for name in names
            if rng.random() < 0.3
        )

    def bounds() -> tuple[float | None, float | None]:
        low, high = sorted(rng.integers(0, 12, size=2).tolist())
        return (low if rng.random() < 0.7 else None), (high if rng.random() < 0.7 else None)

    labels = ("s0", "s1", "s2", "in stock", "sold", "nothing has it")
    low, high = bounds() if rng.random() < 0.3 else (None, None)
    ranges: tuple[Range, ...] = tuple((name, *bounds()) for name in ("brand", "price") if rng.random() < 0.25)
    return Filters(
        some(("brand",), BRANDS), low, high, some(("brand",), BRANDS),
        some(("availability", "seller"), labels), some(("availability", "seller"), labels), ranges,
    )  # fmt: skip


def passes(row: Row, filters: Filters) -> bool:
    stated = {"seller": row.seller, "availability": row.availability}
    brands = {number_of(brand) for brand in row.brands}
    numbers = {"price": {math.nan if row.price is None else row.price}, "brand": brands}

    def within(name: str, low: float | None, high: float | None) -> bool:
        return any((low is None or n >= low) and (high is None or n <= high) for n in numbers[name] if n == n)

    price = filters.price_from is None and filters.price_to is None
    return (
        all(set(row.brands) & set(values) for _, values in filters.aspects)
        and not any(set(row.brands) & set(values) for _, values in filters.aspects_not)
        and all(stated[name] in values for name, values in filters.labels)
        and not any(stated[name] in values for name, values in filters.labels_not)
        and all(within(*each) for each in filters.ranges)
        and (price or within("price", filters.price_from, filters.price_to))
    )


def oracle(catalogue: Catalogue, wanted: Wanted) -> list[tuple[int, str]]:
    found = []
    for name, row in catalogue.items():
        codes = [np.frombuffer(code_of(photo), np.uint8) for photo in row.photos if photo % 11]
        if codes and row.category in wanted.categories and passes(row, wanted.filters):
            found.append((min(int(np.bitwise_count(code ^ wanted.code).sum()) for code in codes), name))
    return sorted(found)[: wanted.k]


def test_filtered_answers_are_the_nearest_of_what_passes(tmp_path: Path) -> None:
    rng = np.random.default_rng(18)
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    catalogue = {f"L{i:03d}": any_row(rng) for i in range(150)}
    live = Generation(full_build(store, store_state(store, catalogue), cache))
    for changes in (40, 3):
        for name in [f"L{i:03d}" for i in rng.integers(170, size=changes)]:
            catalogue[name] = any_row(rng)
        del catalogue[min(catalogue)]
        live = follow(store, live, catalogue, cache)
    assert len(live.deltas) == 2
    base, *deltas = (fetch(store, ref, cache) for ref in live.parts)
    asked = []
    for _ in range(120):
        code = np.frombuffer(code_of(int(rng.integers(7))), np.uint8) ^ np.uint8(rng.integers(4))
        categories = CATEGORIES if rng.random() < 0.6 else (str(rng.choice(CATEGORIES)),)
        asked.append(Wanted(code, categories, any_filters(rng), int(rng.choice([1, 5, 40]))))
    expected = [oracle(catalogue, wanted) for wanted in asked]
    assert sum(1 for found in expected if not found) < 50 < sum(map(len, expected)) / 5
    local, shards = MappedListings(open_index(base, deltas), SCANNER), InShards(store, live, cache)
    for listings in (local, shards):
        assert answered(listings, asked) == expected  # type: ignore[arg-type]


def answered(listings: Listings, asked: list[Wanted]) -> list[list[tuple[int, str]]]:
    return [
        list(zip(found.distance.tolist(), found.listing_ids(), strict=True))
        for found in listings.nearest(asked)
    ]


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("41", 41),
        (" 12,5 ", 12.5),
        ("-3", -3),
        ("+0.5", 0.5),
        ("4 kg", None),
        ("1e5", None),
        ("", None),
        ("nan", None),
    ],
)
def test_a_value_is_a_number_or_not(written: str, number: float | None) -> None:
    assert number_of(written) == number or (number is None and math.isnan(number_of(written)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"labels": (("title", ("x",)),)},
            "'title' is no column to filter by; there are seller, currency, avail",
        ),
        ({"labels_not": (("seller", ()),)}, "at least one value"),
        ({"ranges": (("size", 5.0, 4.0),)}, "the size range 5 to 4 is empty"),
        ({"ranges": (("size", math.nan, None),)}, "size: a range is one of finite numbers"),
        ({"price_from": -1.0}, "a price must be a number of at least 0"),
    ],
)
def test_what_no_listing_could_be_is_said(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(QueryError, match=said):
        Filters(**wrong)  # type: ignore[arg-type]
