"""A shop searched from Python: the same answers as by the command line, as pictures and as tables."""

from __future__ import annotations

import io
import re
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import lookalike
from lookalike.errors import PhotoError, QueryError, SettingsError
from lookalike.publishing import publication
from lookalike.ranking.model import BY_NAME
from lookalike.storage.directory import DirectoryStore
from tests.shop import CATEGORIES, Shop, open_shop, reindex, render


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A small shop that is live. Do not write to its store."""
    root = tmp_path_factory.mktemp("api")
    shop = open_shop(DirectoryStore(root / "store"), root / "cache", per_category=6)
    publication.publish_index(shop.store, shop.index, by="a test", cache_dir=shop.cache_dir)
    return shop


@pytest.fixture
def shop(made: Shop, monkeypatch: pytest.MonkeyPatch) -> lookalike.Shop:
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(made.cache_dir))
    return lookalike.open(str(made.cache_dir.parent / "store"), threads=1)


def test_a_photo_is_taken_in_every_form_that_python_has(shop: lookalike.Shop, tmp_path: Path) -> None:
    data = render("home/vase", 5)
    path = tmp_path / "vase.jpg"
    path.write_bytes(data)
    picture = Image.open(io.BytesIO(data))
    asked = (str(path), path, data, picture)
    answers = [[(hit.listing_id, hit.distance) for hit in shop.search(photo, k=5)] for photo in asked]
    assert len(answers[0]) == 3, "products of two listings each, shown once"
    assert answers[0][0][0].startswith("3-00"), "a vase"
    assert all(answer == answers[0] for answer in answers)


def test_filters_boxes_and_listings(shop: lookalike.Shop) -> None:
    photo = render("home/vase", 5)
    dark = shop.search(photo, aspects={"mark": "dark"}, categories=["home"], price=(5, 9))
    assert len(dark) > 0
    assert all(hit.price is not None and 5 <= hit.price <= 9 for hit in dark)
    assert len(shop.search(photo, aspects={"mark": ["dark", "light"]}, categories=["home"], k=200)) > len(
        dark
    )
    boxed = shop.search(photo, box=(0.1, 0.1, 0.5, 0.5))
    assert [h.distance for h in boxed] != [h.distance for h in shop.search(photo)]
    alike = shop.search(listing_id="3-000", k=4)
    assert {hit.category for hit in alike} == {"home/vase"}
    assert "3-000" not in {hit.listing_id for hit in alike}


def test_every_parameter_of_an_endpoint_has_a_keyword() -> None:
    keywords = set(signature(lookalike.Shop.search).parameters) - {"self", "photo"}
    assert keywords == set(BY_NAME) - {"query_id", "image_url", "photos"} | {"every_photo"}


def test_searches_are_narrowed_sorted_counted_and_explained(shop: lookalike.Shop) -> None:
    photo = render("home/vase", 5)
    every = shop.search(photo, categories=["home"], k=200, show="*", facets=True, explain=True)
    assert every.facets is not None
    assert every.facets.categories["home/vase"] == 6
    assert every.explain is not None
    assert every.explain["route"] == "categories"
    assert every[0].explain is not None
    table = every.to_arrow()
    assert table["aspect_mark"].to_pylist() == [list((hit.aspects or {})["mark"]) for hit in every]
    plain = shop.search(photo, categories=["home"], k=200)
    assert (plain.facets, plain.explain, plain[0].explain, plain[0].aspects) == (None, None, None, None)
    assert "aspect_mark" not in plain.to_arrow().column_names

    narrowed = shop.search(
        photo, categories="home", categories_not=["home/lamp"], aspects_not={"mark": "dark"},
        ranges={"price": (6, None)}, seller_not="South", sort="-price", show=["mark"], k=200,
    )  # fmt: skip
    assert len(narrowed) > 0
    assert {hit.category for hit in narrowed} <= {"home/vase", "home/bowl"}
    assert {(hit.aspects or {})["mark"] for hit in narrowed} == {("light",)}
    prices = [hit.price for hit in narrowed]
    assert prices == sorted((price for price in prices if price is not None and price >= 6), reverse=True)
    assert "South" not in {hit.columns["seller"] for hit in narrowed}

    page = shop.search(photo, categories=["home"], k=2, offset=2)
    assert [hit.listing_id for hit in page] == [hit.listing_id for hit in plain][2:4]
    assert page.to_arrow()["rank"].to_pylist() == [3, 4]
    left = shop.search(
        photo, categories=["home"], exclude=[plain[0].listing_id], exclude_group=[plain[1].group], k=200
    )
    assert {plain[0].listing_id, plain[1].listing_id}.isdisjoint(hit.listing_id for hit in left)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"aspects_not": {"mrak": "dark"}}, "unknown aspect 'mrak'; did you mean 'mark'"),
        ({"aspects": {"a=b": "dark"}}, "aspects: 'a=b' cannot be a name"),
        ({"ranges": {"price": 6}}, "ranges: price: give the lowest and the highest number"),
        ({"price": (9, 5)}, "the price range 9 to 5 is empty"),
        ({"price": (float("nan"), None)}, "price: 'nan' is not a finite number"),
        ({"sort": "cheapest"}, "sort is price or -price"),
        ({"box": (0, 0, 2, 1)}, "box does not lie in the photo"),
        ({"k": 0}, "k must be between 1 and 200"),
    ],
)
def test_a_wrong_parameter_is_refused_as_an_endpoint_does(
    shop: lookalike.Shop, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(QueryError, match=re.escape(said)):
        shop.search(render("home/vase", 5), **wrong)


def test_what_cannot_be_searched_for_says_why(shop: lookalike.Shop, tmp_path: Path) -> None:
    with pytest.raises(QueryError, match="either a photo or a listing_id"):
        shop.search()
    with pytest.raises(QueryError, match="either a photo or a listing_id"):
        shop.search(b"", listing_id="3-000")
    with pytest.raises(QueryError, match="a box is a part of a photo"):
        shop.search(listing_id="3-000", box=(0, 0, 1, 1))
    with pytest.raises(QueryError, match="a float is no photo: give a path"):
        shop.search(1.5)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match=r"none\.jpg: No such file"):
        shop.search(tmp_path / "none.jpg")
    with pytest.raises(QueryError, match="unknown listing: nobody"):
        shop.search(listing_id="nobody")
    with pytest.raises(PhotoError):
        shop.search(b"not a photo")


def test_results_are_a_table_and_pictures(shop: lookalike.Shop) -> None:
    results = shop.search(render("home/lamp", 1), k=3)
    table = results.to_arrow()
    assert table["rank"].to_pylist() == [1, 2, 3]
    assert table["listing_id"].to_pylist() == [hit.listing_id for hit in results]
    assert table["distance"].to_pylist() == [results[i].distance for i in range(3)]
    html = results._repr_html_()
    assert html.count("data:image/jpeg;base64,") == 3
    assert results[0].listing_id in html
    assert "home/lamp" in html
    assert results.categories[0].category == "home/lamp"


def test_photos_are_encoded_as_search_does(shop: lookalike.Shop, made: Shop) -> None:
    photos = [render(category, 0) for category in CATEGORIES]
    encoding = shop.encode(photos)
    assert encoding.codes.shape == (6, 256 // 8)
    assert [shop.categories[i] for i in encoding.probabilities.argmax(axis=1)] == list(CATEGORIES)
    np.testing.assert_allclose(encoding.probabilities.sum(axis=1), 1, atol=1e-5)


def test_listings_and_their_photos(shop: lookalike.Shop, made: Shop) -> None:
    table = shop.listings()
    assert table["listing_id"].to_pylist() == [listing.listing_id for listing in made.listings]
    assert shop.photo_bytes(made.listings[0].photo_id) == made.listings[0].photo
    assert shop.photo_bytes("0" * 32) is None


def test_a_shop_follows_what_is_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(tmp_path / "cache"))
    shop = lookalike.open(str(tmp_path / "store"))
    assert "nothing is live yet" in repr(shop)
    with pytest.raises(SettingsError, match="nothing is live yet; run `lookalike run`"):
        shop.search(b"")
    made = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=2)
    assert shop.publish().index == made.index
    assert shop.search(listing_id="0-000", k=200, categories=["home"])
    more = reindex(made, per_category=4, prefix="new-")
    shop.publish(more.index, accept=True)
    found = shop.search(listing_id="new-0-000", k=200, categories=["home"])
    assert all(hit.listing_id.startswith("new-") for hit in found)
    assert f"live: #2 {more.index}" in repr(shop)


def test_a_misspelt_knob_is_named_before_any_work(shop: lookalike.Shop) -> None:
    with pytest.raises(SettingsError, match="did you mean min_category"):
        shop.curate("nowhere.csv", min_categroy=3)
