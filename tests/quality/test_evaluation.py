"""A golden evaluation: six listings and six queries, small enough that every number is computed here by hand.

Photos are of one flat colour, and the model release is a network written by hand that reads it:

- red / 3 is the *level* L: of a 64-bit code the first L bits are set, so the Hamming distance of two codes is |L - L'|;
- green is the *angle*: the features are (255 - green, green) / 255, so the cosine falls as two greens part;
- blue says the category: the nearest of 0, 50, ... 250 wins with a probability of almost 1.

======== =========== == ===== ======= =========   ======= =========== == ===== ============= =======================
listing  category    L  green product             query   states      L  green product       is taken for
======== =========== == ===== ======= =========   ======= =========== == ===== ============= =======================
g1       a/bag       10    10 p1                  q1      a/bag       11    14 p1            a/bag
g2       a/bag       12    40 p1                  q2      c/lamp/desk 13   214 p3            c/lamp, its parent
g3       a/bag       20    20 p2                  q3      c/lamp      29    31 p4            a/bag, wrongly
g4       c/lamp      11   200 p3                  q4      a/bag       20    20 p2            a/belt: the photo of g3
g5       c/lamp      30    33 p4                  q5      d/rug        0   250               unknown to the release
g6       c/lamp      14   220 p3                  q6      a/bag       its photo is missing
======== =========== == ===== ======= =========   ======= =========== == ===== ============= =======================

q4 must not find its own photo, so of p2 nothing is left for it, and at product level it does not count.
q5 has no relevant listing at all. So four queries count at category level, three at product level.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from lookalike.catalogue.listings import Catalogue, Listed
from lookalike.catalogue.listings import Listing as Row
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.encoder import Encoding
from lookalike.coding.extraction import extract
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.errors import CatalogueError
from lookalike.index.builder import build
from lookalike.quality.evaluation import Evaluation, evaluate, search_quality
from lookalike.quality.gallery import Gallery
from lookalike.quality.labels import NOBODY, Labels
from lookalike.quality.page import render
from lookalike.quality.queries import Queries
from lookalike.ranking.request import Answer
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref
from lookalike.storage.directory import DirectoryStore
from tests.shop import Listing, write_curated

CATEGORIES = ("a/bag", "a/belt", "b/boot", "b/clog", "c/bowl & plate", "c/lamp")
BAG, BELT, BOOT, LAMP = 0, 50, 100, 250
BITS, SIDE = 64, 16

GALLERY = [  # listing, category, level, green, blue, product
    ("g1", "a/bag", 10, 10, BAG, "p1"),
    ("g2", "a/bag", 12, 40, BAG, "p1"),
    ("g3", "a/bag", 20, 20, BELT + 2, "p2"),
    ("g4", "c/lamp", 11, 200, LAMP, "p3"),
    ("g5", "c/lamp", 30, 33, LAMP, "p4"),
    ("g6", "c/lamp", 14, 220, LAMP, "p3"),
]
QUERIES = [
    ("q1", "a/bag", 11, 14, BAG + 1, "p1"),
    ("q2", "c/lamp/desk", 13, 214, LAMP - 1, "p3"),
    ("q3", "c/lamp", 29, 31, BAG + 1, "p4"),
    ("q4", "a/bag", 20, 20, BELT + 2, "p2"),
    ("q5", "d/rug", 0, 250, BOOT, ""),
]


def photo(level: int, green: int, blue: int) -> bytes:
    sink = io.BytesIO()
    Image.new("RGB", (SIDE, SIDE), (3 * level, green, blue)).save(sink, "PNG")
    return sink.getvalue()


def network() -> bytes:
    """uint8 photos -> their mean colour -> logits, activations, features, as the module says."""
    steps, centres = 3 * np.arange(BITS) + 1.5, 50.0 * np.arange(len(CATEGORIES))
    code, angle, category = np.zeros((3, BITS)), np.zeros((3, 2)), np.zeros((3, len(CATEGORIES)))
    code[0], angle[1], category[2] = 100, (-1 / 255, 1 / 255), centres / 50
    constants = {
        "code": code,
        "steps": -100 * steps,  # bit i is set where red > 3 i + 1.5
        "angle": angle,
        "start": np.array([1.0, 0.0]),
        "category": category,
        "offsets": -(centres**2) / 100,  # (2 c b - c^2) / 100 is largest where (b - c)^2 is smallest
    }
    nodes = [
        helper.make_node("Cast", ["photos"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["colour"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["colour", "code"], ["level"]),
        helper.make_node("Add", ["level", "steps"], ["above"]),
        helper.make_node("Sigmoid", ["above"], ["activations"]),
        helper.make_node("MatMul", ["colour", "angle"], ["turned"]),
        helper.make_node("Add", ["turned", "start"], ["features"]),
        helper.make_node("MatMul", ["colour", "category"], ["near"]),
        helper.make_node("Add", ["near", "offsets"], ["logits"]),
    ]
    sizes = {"logits": len(CATEGORIES), "activations": BITS, "features": 2}
    graph = helper.make_graph(
        nodes,
        "flat",
        [helper.make_tensor_value_info("photos", TensorProto.UINT8, ["n", SIDE, SIDE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in sizes.items()],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


Evaluate = Callable[..., Evaluation]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> tuple[DirectoryStore, Path, Ref, Ref, Ref]:
    """Store, folder, curated snapshot, release and index of the six listings."""
    folder = tmp_path_factory.mktemp("golden")
    store = DirectoryStore(folder / "store")
    cache = folder / "cache"
    cache.mkdir()
    listings = tuple(
        Listing(name, category, photo(level, green, blue), None, None, product, {})
        for name, category, level, green, blue, product in GALLERY
    )
    curated = write_curated(store, listings, cache)
    card = ModelCard("flat", "test", CATEGORIES, TransformPreset("flat", SIDE, SIDE - 2), BITS, 2)
    writer = ArtefactWriter(store, Kind.RELEASE, inputs={"graph": "flat"}, config={})
    writer.add("model.json", card.to_json().encode())
    writer.add("model.onnx", network())
    release = writer.commit()
    extraction = extract(store, curated, release, cache_dir=cache, threads=1)
    index = build(store, curated, extraction, shards=2, cache_dir=cache)
    return store, folder, curated, release, index


@pytest.fixture(scope="module")
def evaluated(shop: tuple[DirectoryStore, Path, Ref, Ref, Ref]) -> Evaluation:
    """The evaluation of the six queries, ablated."""
    store, folder, _, release, index = shop
    rows = [("listing_id", "image", "category", "product", "split")]
    for name, category, level, green, blue, product in QUERIES:
        (folder / f"{name}.png").write_bytes(photo(level, green, blue))
        rows.append((name, f"{name}.png", category, product, "test"))
    rows.append(("q6", "q6.png", "a/bag", "", "test"))
    with (folder / "queries.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    catalogue = str(folder / "queries.csv")
    return evaluate(
        store, release, index, catalogue, split="test", ablate=True, cache_dir=folder / "cache", threads=1
    )


def test_recognition(evaluated: Evaluation) -> None:
    found = evaluated.report["recognition"]
    assert (evaluated.report["queries"], evaluated.report["gallery"]) == (5, 6)
    assert (found["queries"], found["unknown_category"]) == (4, 1), "q5's category is unknown"
    # q1 and q2 are right. q4 is taken for the belt beside its bag, so the bag is second. q3's lamp is the farthest of
    # six categories from blue 1, so it is sixth.
    assert found["top1"] == 2 / 4
    assert found["top5"] == 3 / 4
    # All four are sure to 1 - 1e-9 or so: one bin, confidence 1, accuracy 2/4.
    assert found["calibration_error"] == pytest.approx(1 - 2 / 4, abs=1e-6)


def test_a_query_photo_that_is_missing_is_reported_and_left_out(evaluated: Evaluation) -> None:
    (said,) = evaluated.report["rejected"]
    assert said.startswith("line 7: ")
    assert "q6.png" in said


def test_the_whole_gallery_by_codes(evaluated: Evaluation) -> None:
    """By |L - L'|, ties by listing id; the relevant ones of each order stand in brackets."""
    category = evaluated.report["codes"]["category"]["codes"]
    # q1, L 11:  g4 0, [g1] 1, [g2] 1, g6 3, [g3] 9, g5 19      AP = (1/2 + 2/3 + 3/5) / 3 = 53/90
    # q2, L 13:  g2 1, [g6] 1, [g4] 2, g1 3, g3 7, [g5] 17      AP = (1/2 + 2/3 + 3/6) / 3 = 50/90
    # q3, L 29:  [g5] 1, g3 9, [g6] 15, g2 17, [g4] 18, g1 19   AP = (1/1 + 2/3 + 3/5) / 3 = 68/90
    # q4, L 20:  g6 6, [g2] 8, g4 9, [g1] 10, g5 10; not g3     AP = (1/2 + 2/4) / 2       = 45/90
    assert category["queries"] == 4
    assert category["mAP"] == pytest.approx((53 + 50 + 68 + 45) / 90 / 4)  # 0.6
    assert category["precision"] == pytest.approx({"1": 1 / 4, "10": (3 + 3 + 3 + 2) / 40, "100": 11 / 400})
    assert category["recall"] == pytest.approx({"1": (1 / 3) / 4, "10": 1, "100": 1}), (
        "q3 alone has a hit at once"
    )
    assert category["success"] == pytest.approx({"1": 1 / 4, "10": 1, "100": 1})
    product = evaluated.report["codes"]["product"]["codes"]
    # q1 looks for g1 and g2, at 2 and 3: (1/2 + 2/3) / 2 = 7/12; q2 for g4 and g6, at 3 and 2: 7/12; q3 for g5, at 1.
    assert product["queries"] == 3
    assert product["mAP"] == pytest.approx((7 / 12 + 7 / 12 + 1) / 3)
    assert product["success"]["1"] == pytest.approx(1 / 3)


def test_the_whole_gallery_by_features_and_what_hashing_costs(evaluated: Evaluation) -> None:
    """By how far two greens part; the relevant ones of each order stand in brackets."""
    category, product = evaluated.report["codes"]["category"], evaluated.report["codes"]["product"]
    # q1, 14:   [g1] 10, [g3] 20, g5 33, [g2] 40, g4 200, g6 220    AP = (1/1 + 2/2 + 3/4) / 3 = 55/60
    # q2, 214:  [g6] 220, [g4] 200, g2 40, [g5] 33, g3 20, g1 10    AP = (1/1 + 2/2 + 3/4) / 3 = 55/60
    # q3, 31:   [g5] 33, g2 40, g3 20, g1 10, [g4] 200, [g6] 220    AP = (1/1 + 2/5 + 3/6) / 3 = 38/60
    # q4, 20:   [g1] 10, g5 33, [g2] 40, g4 200, g6 220; not g3     AP = (1/1 + 2/3) / 2       = 50/60
    assert category["features"]["mAP"] == pytest.approx((55 + 55 + 38 + 50) / 60 / 4)  # 0.825
    assert category["lost_by_hashing"] == pytest.approx(0.825 - 0.6)
    # q1: g1 and g2 at 1 and 4: (1/1 + 2/4) / 2 = 3/4; q2: g6 and g4 at 1 and 2; q3: g5 at 1.
    assert product["features"]["mAP"] == pytest.approx((3 / 4 + 1 + 1) / 3)
    assert product["lost_by_hashing"] == pytest.approx((3 / 4 + 1 + 1) / 3 - (7 / 12 + 7 / 12 + 1) / 3)


def test_the_search_opens_the_likeliest_category_that_has_listings(evaluated: Evaluation) -> None:
    """So q1 sees bags, q2 lamps, q3 bags in vain; q4's belt has no listing, so bags; q5's boot neither, so bags."""
    found = evaluated.report["search"]
    # Every bag is right for q1 and q4, every lamp for q2: AP 1 each, found whole. q3 finds no lamp: 0.
    category = found["category"]
    assert category["queries"] == 4
    assert category["mAP"] == pytest.approx(3 / 4)
    assert category["precision"] == pytest.approx({"1": 3 / 4, "10": (3 + 3 + 0 + 2) / 40, "100": 8 / 400})
    assert category["recall"] == pytest.approx(
        {"1": (1 / 3 + 1 / 3 + 0 + 1 / 2) / 4, "10": 3 / 4, "100": 3 / 4}
    )
    # Among bags q1 finds g1 and g2 first, among lamps q2 finds g6 and g4; q3 nothing. Recall counts both of a product
    # though a shopper is shown one of them; success counts what the shopper is shown.
    product = found["product"]
    assert product["queries"] == 3
    assert product["mAP"] == pytest.approx(2 / 3)
    assert product["recall"] == pytest.approx({"1": (1 / 2 + 1 / 2) / 3, "10": 2 / 3, "100": 2 / 3})
    assert product["success"] == pytest.approx({"1": 2 / 3, "10": 2 / 3, "100": 2 / 3})
    assert found["categories_opened"] == 1
    assert found["listings_scanned"] == 3


def test_ablation_changes_one_part_at_a_time(evaluated: Evaluation) -> None:
    ablation = evaluated.report["ablation"]
    # With every category opened the search ranks the whole gallery by its codes.
    assert ablation["all categories"]["category"]["mAP"] == pytest.approx(0.6)
    assert ablation["all categories"]["listings_scanned"] == 6
    assert ablation["all categories"]["categories_opened"] == 2
    assert ablation["one category"] == evaluated.report["search"], "the likeliest is as good as certain here"


def test_the_page_shows_the_same_numbers_and_the_worst_query_first(
    evaluated: Evaluation, shop: tuple[DirectoryStore, Path, Ref, Ref, Ref]
) -> None:
    store, folder, curated, release, index = shop
    page = render(evaluated, CuratedSnapshot.open(store, curated, folder / "cache").photo_bytes)
    assert "5 queries against 6 listings" in page
    assert release.id in page
    assert index.id in page
    for tile in (
        "<b>50.0 %</b><span>category top-1",
        "<b>75.0 %</b><span>category top-5",
        "<b>20.0 %</b><span>of the first ten hits share the category",
        "<b>66.7 %</b><span>first hit is the product",
        "<b>66.7 %</b><span>product in the first ten",
        "<b>1.0</b><span>categories opened per query",
    ):
        assert tile in page
    assert "<td>category<td>codes<td class=n>60.0 %<td class=n>27.5 %<td class=n>100.0 %" in page
    assert "<td>category<td>features<td class=n>82.5 %" in page
    assert "<td class=n>1<td>a/bag<td>taken for<td>a/belt" in page
    assert "<td class=n>1<td>c/lamp<td>taken for<td>a/bag" in page
    queries = page.partition("Worst queries")[2].split("<div class=query>")[1:]
    assert len(queries) == 4, "q5 has no category to be judged by"
    # Of the first ten shown, one of each product, q3 has 0 lamps; q4 has 1 bag: g2 and g1 are one product.
    assert [q.count("<figure class=good>") for q in queries] == [0, 1, 2, 2]
    assert [q.count("<figure class=bad>") for q in queries] == [2, 0, 0, 0]
    for outside in ("http://", "https://", "<script", "src=/"):
        assert outside not in page


def test_a_split_without_queries_is_named(shop: tuple[DirectoryStore, Path, Ref, Ref, Ref]) -> None:
    store, folder, _, release, index = shop
    (folder / "one.png").write_bytes(photo(1, 1, 1))
    (folder / "one.csv").write_text("listing_id,image,category\n1,one.png,a/bag\n")
    with pytest.raises(CatalogueError, match=r"no listing of split 'test'; there are \(none\)"):
        evaluate(store, release, index, str(folder / "one.csv"), split="test", cache_dir=folder / "cache")


def test_memory_does_not_grow_with_pairs_of_query_and_listing() -> None:
    """400 queries against 200,000 listings are 80 million pairs, of a byte or more each if held at once."""
    rows, asked = 200_000, 400
    ids = np.array([f"{n:06d}" for n in range(rows)])
    nothing = np.zeros(rows, np.int32)
    labels = Labels({}, nothing, {}, nothing, frozenset(), {})
    nobody = np.full(asked, NOBODY)
    gallery = Gallery(ids, ("a/bag",), nothing, labels, nobody, [nobody[:0]] * asked)
    listings = [Row(f"q{n}", (), "a/bag", n) for n in range(asked)]
    queries = Queries(
        Catalogue("x.csv", "", Listed.of(listings)),
        listings,
        [""] * asked,
        np.array([row.listing_id for row in listings]),
        np.full(asked, "a/bag"),
        Encoding(*(np.empty((asked, 0)) for _ in dataclasses.fields(Encoding))),
    )
    answers = [Answer((), (), {}, "", "", 0, {})] * asked
    tracemalloc.start()
    found = search_quality(answers, answers, queries, gallery)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["category"]["queries"] == asked
    assert peak < 160e6
