"""Placeholders and size charts: they tie nothing, nobody learns from them, and the report names them."""

from __future__ import annotations

import numpy as np

from lookalike.catalogue.snapshot import REPORT_PAGE
from lookalike.learning.dataset import load_training_data
from lookalike.storage.artefacts import fetch
from tests.catalogue.conftest import Shop, photo, photos, plain


def test_a_placeholder_and_a_size_chart_are_stock_photos(shop: Shop) -> None:
    """Of 120 listings 30 of both categories have a placeholder alone, 40 products a size chart beside their photo."""
    rows = plain(120)
    for i, row in enumerate(rows):
        if i < 30:
            row["image"] = "placeholder.jpg"
        elif i < 70:
            row |= {"product": f"P{i}", "image_2": "chart.jpg"}
    shop.write(rows, photos(120) | {"placeholder.jpg": photo(900), "chart.jpg": photo(901)})
    found = shop.curate()
    assert found.listings.num_rows == 120
    told = [(x["listings"], x["products"], x["categories"]) for x in found.report["stock_photos"]]
    assert told == [(40, 40, 2), (30, 0, 2)]
    named = {photo_id for x in found.report["stock_photos"] for photo_id in x["photo_ids"]}
    assert set(found.stock_photos()) == named
    assert found.report["ties"]["largest"] == 1
    placed = found.listings.filter(np.isin(found.listings["photo_id"].to_pylist(), [*named]))
    assert len(set(placed["split"].to_pylist())) > 1, "they are not held together"
    data = load_training_data(found, 16, cache_dir=shop.cache, threads=1, decoding="once")
    own = ~np.isin(found.listings["photo_id"].to_pylist(), [*named])
    seen = np.isin(found.listings["split"].to_pylist(), ["train", "val"])
    assert len(data.train) + len(data.validation) == int((own & seen).sum())
    page = fetch(shop.store, found.artefact.ref, shop.cache, [REPORT_PAGE]).path(REPORT_PAGE).read_text()
    assert "Stock photos <small>2</small>" in page


def test_the_sizes_of_one_shirt_share_its_photo_and_that_is_learned(shop: Shop) -> None:
    rows = plain(60)
    for row in rows[:50:2]:  # 25, all of one category
        row["image"] = "shirt.jpg"
    shop.write(rows, photos(60) | {"shirt.jpg": photo(900)})
    found = shop.curate()
    assert found.report["stock_photos"] == []
    assert found.stock_photos() == []
    assert found.report["ties"]["largest"] == 25
