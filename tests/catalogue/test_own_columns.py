"""A shop's own columns: from a table to hits, to be searched and sorted by."""

from __future__ import annotations

import pytest

from lookalike.catalogue.curation import CurationConfig
from lookalike.catalogue.reading import read_catalogue
from lookalike.columns import own_columns
from lookalike.errors import CatalogueError
from tests.catalogue.conftest import Shop, photo

CELLS = {"1.5": 1.5, "1,5": 1.5, " -2 ": -2.0, "2e3": 2000.0, "": None, "heavy": None, "1.000,5": None}


def test_own_columns_are_curated_by_the_kind_that_their_names_tell(shop: Shop) -> None:
    rows = [
        {
            "listing_id": f"w{i}",
            "category": ("lamps", "vases")[i % 2],
            "number_weight": cell,
            "text_badge": "" if i % 2 else f"batch {i}",
        }
        for i, cell in enumerate(CELLS)
    ]
    shop.write(rows, {f"w{i}.jpg": photo(i) for i in range(len(rows))})
    snapshot = shop.curate()
    assert [str(column.type) for column in own_columns(snapshot.listings.column_names)] == [
        "double",
        "string",
    ]
    curated = {row["listing_id"]: row for row in snapshot.listings.to_pylist()}
    assert [curated[f"w{i}"]["number_weight"] for i in range(len(rows))] == list(CELLS.values())
    assert curated["w2"]["text_badge"] == "batch 2"
    assert curated["w1"]["text_badge"] is None
    assert snapshot.artefact.manifest.meta["unclear"]["number_weight"] == 2


def test_own_columns_are_taken_by_whatever_name(shop: Shop) -> None:
    rows = [
        {"listing_id": f"w{i}", "category": ("lamps", "vases")[i % 2], "Gewicht": f"{i},5"} for i in range(4)
    ]
    shop.write(rows, {f"w{i}.jpg": photo(i) for i in range(4)})
    snapshot = shop.curate(CurationConfig(min_category=2), columns={"number_weight": "Gewicht"})
    assert snapshot.listings["number_weight"].to_pylist() == [0.5, 1.5, 2.5, 3.5]


def test_two_own_columns_of_one_name_are_refused(shop: Shop) -> None:
    rows = [{"listing_id": "w", "category": "lamps", "number_weight": "1", "text_weight": "light"}]
    uri = shop.write(rows, {"w.jpg": photo(1)})
    with pytest.raises(CatalogueError, match="both number_weight and text_weight"):
        read_catalogue(uri)
