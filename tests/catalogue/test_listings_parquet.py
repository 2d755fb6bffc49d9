"""Reading catalogues in Parquet: types, lists, NaN, and columns that are no text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lookalike.catalogue.listings import Catalogue
from lookalike.catalogue.reading import read_catalogue
from lookalike.errors import CatalogueError
from tests.catalogue.test_listings import problems


def test_parquet_with_lists_and_numbers(tmp_path: Path) -> None:
    table = pa.table(
        {
            "listing_id": pa.array([1, 2, None]),
            "image": ["1.jpg", "2.jpg", "3.jpg"],
            "category": pa.array(["a/b", "a/c", "a/c"]).dictionary_encode(),
            "price": [9.5, None, 1.0],
            "aspect_colour": [["red", "blue"], None, []],
            "aspect_kids": [True, False, None],
            "vector": [{"x": 1}, {"x": 2}, None],
        }
    )
    pq.write_table(table, tmp_path / "catalogue.parquet")
    found = read_catalogue((tmp_path / "catalogue.parquet").as_uri())
    one, two = found.listings
    assert (one.listing_id, one.category, one.price) == ("1", "a/b", 9.5)
    assert one.aspects == {"colour": ("red", "blue"), "kids": ("true",)}
    assert two.price is None
    assert problems(found) == {3: "no listing id"}
    assert found.ignored_columns == ("vector",)


def parquet(folder: Path, added: Mapping[str, object], **options: object) -> Catalogue:
    """A catalogue of two rows; columns are added to the required ones, or replace them."""
    required = {"listing_id": ["L1", "L2"], "image": ["1.jpg", "2.jpg"], "category": ["a", "a"]}
    pq.write_table(pa.table(required | added), folder / "catalogue.parquet")
    return read_catalogue(str(folder / "catalogue.parquet"), **options)


NOT_FOR_PYTHON = {
    "nanoseconds": pa.array([1, None], pa.timestamp("ns")),
    "time of day": pa.array([1, None], pa.time64("ns")),
    "duration": pa.array([1, None], pa.duration("ns")),
    "far future": pa.array([2**30, None], pa.date32()),
    "unknown zone": pa.array([0, None], pa.timestamp("us", tz="Nowhere/Land")),
    "not UTF-8": pa.array([b"\xff", None]).view(pa.string()),
}


@pytest.mark.parametrize("kind", NOT_FOR_PYTHON)
def test_a_value_that_cannot_be_read_matters_only_where_it_is_used(tmp_path: Path, kind: str) -> None:
    column = {"added": NOT_FOR_PYTHON[kind]}
    found = parquet(tmp_path, column)
    assert [row.listing_id for row in found.listings] == ["L1", "L2"]
    assert found.ignored_columns == ("added",)
    one, two = parquet(tmp_path, column, columns={"title": "added"}).listings
    assert (one.title, two.title, two.unclear) == ("", "", {})
    assert re.fullmatch(r"cannot be read \(.*\); store it as text in UTF-8: .*", one.unclear["title"])
    with pytest.raises(
        CatalogueError,
        match=r"none of its 2 rows .*\(row 1: category cannot be read \(.*; store it as text in",
    ) as caught:
        parquet(tmp_path, column, columns={"category": "added"})
    assert "\n" not in str(caught.value)


def test_values_of_a_wrong_type_in_parquet_are_empty_and_keep_their_row(tmp_path: Path) -> None:
    one, two = parquet(
        tmp_path,
        {
            "price": [b"\xff\xfe", b"12.5"],
            "title": [b"\xff", b"caf\xc3\xa9"],
            "split": [1.0, None],
            "aspect_size": [[b"\xff", b"38"], [b"39"]],
        },
    ).listings
    assert (one.price, one.title, one.split, one.aspects) == (None, "", "", {"size": ("38",)})
    assert one.unclear == {
        "price": "not UTF-8", "title": "not UTF-8", "split": "'1.0'", "aspect_size": "not UTF-8",
    }  # fmt: skip
    assert (two.price, two.title, two.aspects, two.unclear) == (12.5, "café", {"size": ("39",)}, {})


def test_nan_in_parquet_is_an_empty_value(tmp_path: Path) -> None:
    nan = float("nan")
    found = parquet(
        tmp_path, {"price": [nan, 2.0], "seller": [7.0, nan], "aspect_size": [[nan, 38.0], [nan]]}
    )
    one, two = found.listings
    assert (one.price, one.seller, one.aspects) == (None, "7.0", {"size": ("38.0",)})
    assert (two.price, two.seller, two.aspects) == (2.0, "", {})


@pytest.mark.parametrize(
    "kind", [pa.list_(pa.string(), 2), pa.large_list(pa.string()), pa.list_view(pa.string())]
)
def test_lists_of_every_kind_hold_aspects(tmp_path: Path, kind: pa.DataType) -> None:
    found = parquet(tmp_path, {"aspect_colour": pa.array([["red", "blue"], None], kind)})
    assert [row.aspects for row in found.listings] == [{"colour": ("red", "blue")}, {}]
    assert found.ignored_columns == ()


def test_structs_are_ignored_where_they_are_not_needed_and_refused_where_they_are(tmp_path: Path) -> None:
    structs = [{"x": 1}, {"x": 2}]
    found = parquet(tmp_path, {"aspect_made": structs, "title": ["one", "two"]})
    assert (found.ignored_columns, found.aspects) == (("aspect_made",), ())
    with pytest.raises(CatalogueError, match="image cannot be taken from 'image', a column of structs"):
        parquet(tmp_path, {"image": structs})
    with pytest.raises(CatalogueError, match="seller cannot be taken from 'owner', a column of structs"):
        parquet(tmp_path, {"owner": structs}, columns={"seller": "owner"})
