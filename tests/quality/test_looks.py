"""Golden look measures: 19 listings and seven queries, small enough that every number is computed here by hand.

The release is that of `test_evaluation`: red / 3 is the level L, and the Hamming distance of two codes is |L - L'|.
Bags are found for queries that look like bags, whatever they are. p1 to p4 and f1 to f10 are products.

======== ====== == ======= ========== ======== =====   ===== ======= == ======= ========= ======== ==================
listing  is a   L  product colour     material split   query is a    L  product colour    material
======== ====== == ======= ========== ======== =====   ===== ======= == ======= ========= ======== ==================
g1       bag    10 p1      red, blue  cotton   train   q1    bag     10 p1      red, blue cotton
g2       bag    11 p1      blue       cotton   train   q2    bag     15 p3      green
gc       bag    10 copy of g1's photo: red     train   q3    bag     12 p4      red       cotton
g3       bag    12 p2      red                 train   q4    lamp    12         red                taken for a bag
g4       bag    14 p3      blue, red  wool     val     g6    bag     17 p4                         another photo of g6
g5       bag    15 p3      green      wool     val     g5    bag     14 p3                         another photo of g5
g6       bag    17 p4      red        cotton   val     q7    bag     12 p2
g7       lamp   13 p5      red                 train
g8       lamp   12 p2      red                 train
f1 to f9 bag    20 to 28   green               train
f10      bag    40         red                 train
======== ====== == ======= ========== ======== =====   ===== ======= == ======= ========= ======== ==================

So q1 and q7 photograph products that were learned from, q2, q3, g5 and g6 new ones, and q4 says no product. What each
is shown, once per product: q1: g1 g3 g4 g6 f1 ...; q2: g5 g6 g3 g2 f1 ...; q3 and q4: g3 g2 g4 g6 f1 ....
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from lookalike.coding.extraction import extract
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.index.builder import build
from lookalike.quality.evaluation import Evaluation, evaluate
from lookalike.quality.metrics import bootstrap_interval
from lookalike.quality.page import render
from lookalike.quality.table import looks_table
from lookalike.ranking.request import RankingConfig
from lookalike.storage.artefacts import ArtefactWriter, Kind
from lookalike.storage.directory import DirectoryStore
from tests.quality.test_evaluation import BAG, BITS, CATEGORIES, LAMP, SIDE, network, photo
from tests.shop import Listing, open_shop, write_curated

RED, BLUE, GREEN = ["red"], ["blue"], ["green"]
GALLERY = [  # listing, category, level, product, copy of, split, colours, material
    ("g1", "a/bag", 10, "p1", "", "train", ["red", "blue"], ["cotton"]),
    ("g2", "a/bag", 11, "p1", "", "train", BLUE, ["cotton"]),
    ("gc", "a/bag", 10, "", "p1", "train", RED, []),
    ("g3", "a/bag", 12, "p2", "", "train", RED, []),
    ("g4", "a/bag", 14, "p3", "", "val", ["blue", "red"], ["wool"]),
    ("g5", "a/bag", 15, "p3", "", "val", GREEN, ["wool"]),
    ("g6", "a/bag", 17, "p4", "", "val", RED, ["cotton"]),
    ("g7", "c/lamp", 13, "p5", "", "train", RED, []),
    ("g8", "c/lamp", 12, "p2", "", "train", RED, []),
    *((f"f{n}", "a/bag", 19 + n, f"f{n}", "", "train", GREEN, []) for n in range(1, 10)),
    ("f10", "a/bag", 40, "f10", "", "train", RED, []),
]
QUERIES = [  # listing, category, level, product, colours, material
    ("q1", "a/bag", 10, "p1", "red|blue", "cotton"),
    ("q2", "a/bag", 15, "p3", "green", ""),
    ("q3", "a/bag", 12, "p4", "red", "cotton"),
    ("q4", "c/lamp", 12, "", "red", ""),
    ("g6", "a/bag", 17, "p4", "", ""),
    ("g5", "a/bag", 14, "p3", "", ""),
    ("q7", "a/bag", 12, "p2", "", ""),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("looks")


def judge(folder: Path, ranking: RankingConfig | None = None) -> Evaluation:
    store, cache = DirectoryStore(folder / "store"), folder / "cache"
    cache.mkdir(exist_ok=True)
    listings = tuple(
        Listing(
            name,
            category,
            photo(level, 10, LAMP if category == "c/lamp" else BAG),
            None,
            None,
            product,
            {"colour": colours, "material": material},
            split,
            copy_of,
        )
        for name, category, level, product, copy_of, split, colours, material in GALLERY
    )
    curated = write_curated(store, listings, cache)
    writer = ArtefactWriter(store, Kind.RELEASE, inputs={"graph": "flat"}, config={})
    card = ModelCard("flat", "test", CATEGORIES, TransformPreset("flat", SIDE, SIDE - 2), BITS, 2)
    writer.add("model.json", card.to_json().encode())
    writer.add("model.onnx", network())
    release = writer.commit()
    extraction = extract(store, curated, release, cache_dir=cache, threads=1)
    index = build(store, curated, extraction, shards=2, cache_dir=cache)
    rows = [("listing_id", "image", "category", "product", "aspect_colour", "aspect_material")]
    for place, (name, category, level, product, colours, material) in enumerate(QUERIES):
        (folder / f"{place}.png").write_bytes(photo(level, 20 + place, BAG))
        rows.append((name, f"{place}.png", category, product, colours, material))
    with (folder / "queries.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    catalogue = str(folder / "queries.csv")
    return evaluate(store, release, index, catalogue, ranking=ranking, cache_dir=cache, threads=1)


@pytest.fixture(scope="module")
def evaluated(folder: Path) -> Evaluation:
    return judge(folder)


def values(evaluated: Evaluation, measure: str) -> dict[str, tuple[int, float]]:
    by_column = evaluated.report["looks"]["measures"][measure]
    return {column: (found["queries"], found["value"]) for column, found in by_column.items()}


def test_queries_of_learned_and_of_new_products_are_told_apart(evaluated: Evaluation) -> None:
    assert evaluated.report["looks"]["queries"] == {"all": 7, "learned": 2, "new": 4}


def test_what_comes_first(evaluated: Evaluation) -> None:
    # q3 is shown g3 first, the others of a product their own. Of p4 nothing is left for g6, so it does not count.
    assert values(evaluated, "product first") == {
        "all": (5, 4 / 5),
        "learned": (2, 1),
        "new": (3, pytest.approx(2 / 3)),
    }
    # A variant is a product in a main colour: q1's is g1, q2's g5, q3's g6. The rest state no colour.
    assert values(evaluated, "variant first") == {
        "all": (3, pytest.approx(2 / 3)),
        "learned": (1, 1),
        "new": (2, 1 / 2),
    }


def test_recall(evaluated: Evaluation) -> None:
    # q7 looks for g3 and g8, and no lamp is opened for it; the others find all.
    assert values(evaluated, "product recall@10") == {
        "all": (5, pytest.approx(4.5 / 5)),
        "learned": (2, 1.5 / 2),
        "new": (3, 1),
    }
    assert values(evaluated, "variant recall@10")["all"] == (3, 1)


def test_another_photo_of_a_listing_is_to_find_that_listing(evaluated: Evaluation) -> None:
    # The photo of g6 is nearest to g6, that of g5 to g4.
    assert values(evaluated, "listing first") == {"all": (2, 1 / 2), "new": (2, 1 / 2)}


# aspect: by query (share, in the category, base rate, best) of the first eight of other products
Q1, Q2, Q3, Q4 = range(4)
EXPECTED = {
    # q1, red or blue: g3, g4, g6 of g3 g4 g6 f1 f2 f3 f4 f5. Of 13 other products p2, p4 and f10 always agree, p3 with
    # one of its two listings: four at best.
    # q2, green: f1 to f5 of g6 g3 g2 f1 f2 f3 f4 f5. Of 13 other products f1 to f9 agree: more than eight.
    # q3, red: g3, g4 of g3 g2 g4 f1 f2 f3 f4 f5. Of 13 others p2 and f10 always agree, p1 with two of three listings
    # (gc shows it, too), p3 with one of two: four at best.
    # q4, red: g3, g4, g6 of g3 g2 g4 g6 f1 f2 f3 f4, none of them a lamp. Both lamps are red.
    "colour": {
        Q1: (3 / 8, 3 / 8, (1 + 1 + 1 + 1 / 2) / 13, 4 / 8),
        Q2: (5 / 8, 5 / 8, 9 / 13, 1),
        Q3: (2 / 8, 2 / 8, (1 + 1 + 2 / 3 + 1 / 2) / 13, 4 / 8),
        Q4: (3 / 8, 0, 1, 1),
    },
    # The same by the colour named first: g4 is blue.
    "main colour": {
        Q1: (2 / 8, 2 / 8, 3 / 13, 3 / 8),
        Q2: (5 / 8, 5 / 8, 9 / 13, 1),
        Q3: (1 / 8, 1 / 8, (1 + 1 + 2 / 3) / 13, 3 / 8),
        Q4: (2 / 8, 0, 1, 1),
    },
    # Who states no material is skipped: q1 is judged by g4 and g6, p3 and p4; q3 by g2 and g4, p1 and p3.
    "material": {Q1: (1 / 2, 1 / 2, 1 / 2, 1 / 2), Q3: (1 / 2, 1 / 2, 1 / 2, 1 / 2)},
}


@pytest.mark.parametrize("aspect", EXPECTED)
@pytest.mark.parametrize("column", ["all", "learned", "new"])
def test_first_hits_of_other_products_that_agree(evaluated: Evaluation, aspect: str, column: str) -> None:
    members = {"all": {Q1, Q2, Q3, Q4}, "learned": {Q1}, "new": {Q2, Q3}}[column]
    counted = [numbers for query, numbers in EXPECTED[aspect].items() if query in members]
    found = evaluated.report["looks"]["agreement"][aspect][column]
    assert found["queries"] == len(counted)
    assert [found[name] for name in ("value", "in_category", "base", "best")] == pytest.approx(
        np.mean(counted, axis=0)
    )
    assert found["low"] <= found["value"] <= found["high"]


def test_without_grouping_every_listing_counts(folder: Path) -> None:
    found = judge(folder, RankingConfig(group=False)).report["looks"]["agreement"]["colour"]["learned"]
    # q1: g3 g4 g5 g6 f1 f2 f3 f4 of 14 listings of others, of which g3, g4, g6 and f10 are red or blue.
    assert [found[name] for name in ("value", "base", "best")] == pytest.approx([3 / 8, 4 / 14, 4 / 8])


def test_an_interval_is_that_of_the_mean_and_repeatable() -> None:
    few, many = np.repeat([0.0, 1.0], 50), np.repeat([0.0, 1.0], 5000)
    low, high = bootstrap_interval(few)
    # The mean of n fair coins has the standard deviation 1 / 2 sqrt(n); 95 % lie within 1.96 of them.
    assert (low, high) == pytest.approx((0.5 - 0.098, 0.5 + 0.098), abs=0.02)
    assert (low, high) == bootstrap_interval(few)
    assert bootstrap_interval(many) == pytest.approx((0.5 - 0.0098, 0.5 + 0.0098), abs=0.002)
    assert bootstrap_interval(np.ones(3)) == (1, 1)


def test_the_table_and_the_page_say_the_same(evaluated: Evaluation, folder: Path) -> None:
    _, columns, rows = looks_table(evaluated.report["looks"])
    assert columns == ("measure", "all (7)", "learned (2)", "new (4)")
    cells = {name: rest for name, *rest in rows}
    assert cells["product first"][1] == "100.0 (100.0–100.0)"
    assert cells["listing first"][1] == "–", "no photo of a learned listing is asked about"
    names = [name for name, *_ in rows]
    start = names.index("same main colour in 8")
    assert names[start : start + 4] == [names[start], "  in its category", "  by chance", "  at best"]
    assert [row[2] for row in rows[start + 1 : start + 4]] == ["25.0", "23.1", "37.5"]
    page = render(evaluated, lambda photo_id: photo(1, 1, 1))
    assert "<td>same main colour in 8<td class=n>" in page
    # At best q1 and q3 have three eighths, q2 and q4 all.
    assert "<td>  at best<td class=n>68.8<td class=n>37.5<td class=n>68.8" in page


def test_an_aspect_s_accuracy_stands_beside_that_of_its_commonest_value(tmp_path: Path) -> None:
    """Of a category's 24 listings half are dark, of the 19 with a brand seven are Bolt's, and all have cotton."""
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path, per_category=24)
    rows = [("listing_id", "image", "category", "aspect_mark", "aspect_brand", "aspect_material")]
    for row in shop.listings:
        (tmp_path / f"{row.listing_id}.jpg").write_bytes(row.photo)
        stated = ("|".join(row.aspects[name]) for name in ("mark", "brand", "material"))
        rows.append((f"q{row.listing_id}", f"{row.listing_id}.jpg", row.category, *stated))
    with (tmp_path / "queries.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = evaluate(shop.store, shop.release, shop.index, str(tmp_path / "queries.csv"), cache_dir=tmp_path)
    aspects = found.report["aspects"]
    expected = {"mark": 1 / 2, "brand": 7 / 19, "material": 1}
    assert aspects
    assert {name: value["majority"] for name, value in aspects.items()} == pytest.approx(
        {name: expected[name] for name in aspects}
    )
    assert all(value["low"] <= value["top1"] <= value["high"] for value in aspects.values())
    assert "always the commonest: 50.0 %" in render(found, lambda photo_id: photo(1, 1, 1))
    shown = [
        (value in row.aspects[name])
        for row, answer in zip(shop.listings, found.answers, strict=True)
        for hit in answer.hits[:10]
        for name, value in hit.matched_aspects.items()
        if row.aspects[name]
    ]
    assert found.report["ticks"] == {"shown": len(shown), "true": pytest.approx(np.mean(shown))}
    refused = [answer.judged.nothing_alike for answer in found.answers]
    assert found.report["likeness"]["judged"] == len(refused) == 144
    assert found.report["likeness"]["refused"] == np.mean(refused)
    page = render(found, lambda photo_id: photo(1, 1, 1))
    assert f"of {len(shown):,} ticks on hits are true" in page
    assert "of answers say that nothing looks like the photo" in page
