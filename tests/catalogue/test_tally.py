"""What became of every row: kept and left out add up, and whoever runs curation is told."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lookalike.catalogue.listings import Catalogue, LeftOut, Listed, Listing, Losses
from lookalike.catalogue.report import read_tally
from lookalike.catalogue.tally import Tally
from lookalike.errors import CatalogueError
from tests.catalogue.conftest import SMALL, Shop, photo, photos, plain

GOOD = photos(8) | {"tiny.jpg": photo(50, 40, 90), "text.jpg": b"this is text", "cut.jpg": photo(51)[:1500]}
IMAGES = (*GOOD, "gone.jpg", "", "ftp://shop/1.jpg", "a\x00b")
ROWS = st.fixed_dictionaries(
    {
        "listing_id": st.sampled_from(["", "L\x01", *(f"L{i:03d}" for i in range(8))]),
        "image": st.sampled_from(IMAGES),
        "image_2": st.sampled_from(("", *IMAGES)),
        "category": st.sampled_from(["a/x", "a/y", "b", "c/z", "", "a//x"]),
        "split": st.sampled_from(["", "Train", "val", "test", "later", "9", "x" * 99]),
        "price": st.sampled_from(["", "12.5", "about 40", "-1"]),
        "title": st.sampled_from(["", "A shirt", "x" * 20_000]),
        "seller": st.sampled_from(["", "S1", "S\x01"]),
        "aspect_colour": st.sampled_from(["", "red|blue", "red|\x01"]),
    }
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROWS, max_size=30), st.integers(0, 3))
def test_kept_and_left_out_add_up_to_the_rows_of_the_table(rows: list[dict[str, str]], cap: int) -> None:
    sound = [
        {"listing_id": f"K{i}", "image": f"L{i:03d}.jpg", "category": ("a/x", "a/y")[i % 2], "price": "1"}
        for i in range(8)
    ]
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder))
        shop.write([*sound, *rows], GOOD)
        snapshot = shop.curate(replace(SMALL, seller_cap=cap))
        meta = snapshot.artefact.manifest.meta
        assert meta["rows"] == len(sound) + len(rows)
        assert meta["kept_rows"] + sum(meta["left_out"].values()) == meta["rows"]
        assert meta["listings"] == len(snapshot.listings)
        assert meta["priced"] == len(snapshot.listings) - snapshot.listings["price"].null_count
        report = snapshot.report
        assert report["left_out"]["by_reason"] == meta["left_out"]
        assert sum(row["rows"] for row in report["rows"]["left_out"]) == sum(meta["left_out"].values())
        tally = read_tally(shop.store, snapshot.ref, shop.cache)
        assert tally.meta.items() <= meta.items()
        assert meta["photos_left_out"] == Counter(row["reason"] for row in report["rows"]["photos_left_out"])
        assert all(count.advice for count in (*tally.left_out.values(), *tally.unclear.values()))
        assert not any("\n" in line for line in tally.lines())
        counts = [count.rows for count in tally.left_out.values()]
        assert counts == sorted(counts, reverse=True)


def test_an_account_says_reason_first_row_and_what_to_do(shop: Shop) -> None:
    rows = plain(6, price="about 40")
    broken = [{"listing_id": f"B{i}", "category": "a/x", "image": "broken.jpg"} for i in range(6)]
    shop.write([*rows, *broken, {"listing_id": "L009", "category": "a/x"}], photos(6) | {"broken.jpg": b""})
    snapshot = shop.curate()
    lines = read_tally(shop.store, snapshot.ref, shop.cache).lines()
    assert lines == [
        "kept 6 of 13 rows; left out 7: not a photo 6 (line 8: the file is empty), "
        "missing 1 (line 14: there is no photo L009.jpg)",
        "  price not understood: 6, first line 2: 'about 40'; left empty",
        "  not a photo: give a JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF",
        "  missing: put the photo where the row says, or correct the row",
        "  price not understood: write a number of at least 0, such as 12.90",
    ]
    meta = snapshot.artefact.manifest.meta
    assert (meta["rows"], meta["left_out"]) == (13, {"not a photo": 6, "missing": 1})
    assert (meta["unclear"], meta["priced"]) == ({"price": 6}, 0)
    page = (shop.store.root / snapshot.artefact.manifest.file("report.html").key).read_text()
    for needed in (
        "Left empty, by column",
        "&#x27;about 40&#x27;",
        "What to do: give a JPEG, PNG, WebP",
    ):
        assert needed in page


def test_a_table_of_which_everything_is_kept_says_so(shop: Shop) -> None:
    shop.write(plain(6), photos(6))
    tally = read_tally(shop.store, shop.curate().ref, shop.cache)
    assert tally.lines() == ["kept 6 of 6 rows; nothing left out"]


def test_splits_that_leave_nothing_to_learn_from_are_named(shop: Shop) -> None:
    shop.write(plain(6, split="Lehrling"), photos(6))
    with pytest.raises(CatalogueError, match=r"no row's split is train, but Lehrling 6"):
        shop.curate()
    shop.write(plain(12, split="Train"), photos(12))
    assert shop.curate().report["splits"] == {"train": 12}


def test_long_details_stay_one_short_line() -> None:
    kept = Listed.of([Listing("L1", ("1.jpg",), "a", 2, unclear={"title": "two\nlines"})])
    gone = Losses.of([LeftOut(3, "L2", "unreadable", "no\n" * 500)])
    told = Tally.of(Catalogue("file:///x.csv", "", kept), np.array([0]), gone, Losses.of(()))
    assert all("\n" not in line and len(line) < 400 for line in told.lines())
