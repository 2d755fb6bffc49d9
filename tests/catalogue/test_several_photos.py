"""Listings of several photos: rows with one id, several image columns, a list in a cell."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.curation import curate
from lookalike.catalogue.listings import Catalogue
from lookalike.catalogue.reading import read_catalogue
from lookalike.catalogue.report import read_tally
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.storage.directory import DirectoryStore
from tests.catalogue.conftest import SMALL, Shop, by_id, photo, photos, plain, reasons


def catalogue(folder: Path, text: str, **options: object) -> Catalogue:
    (folder / "catalogue.csv").write_text(text)
    return read_catalogue(str(folder / "catalogue.csv"), **options)


def album(snapshot: CuratedSnapshot) -> dict[str, list[str]]:
    """Listing id -> its photo ids in their order; ordinals are checked on the way."""
    found: dict[str, list[str]] = {}
    for row in snapshot.listing_photos.to_pylist():
        shelf = found.setdefault(row["listing_id"], [])
        assert row["ordinal"] == len(shelf)
        shelf.append(row["photo_id"])
    return found


def test_rows_of_one_listing_are_one_listing(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path,
        "listing_id,image,category,title,price,aspect_colour\n"
        "L1,1.jpg,,,x,red\n"
        "L2,2.jpg,a/b,Two,2,\n"
        "L1,1b.jpg,a/b,One,9.5,red\n"
        "L1,1.jpg,a/c,Uno,9.50,blue|red\n"
        "L1,,a/b,,,\n",
    )
    one, two = found.listings
    assert one.images == ("1.jpg", "1b.jpg")
    assert (one.category, one.title, one.price, one.aspects) == (
        "a/b",
        "One",
        9.5,
        {"colour": ("red", "blue")},
    )
    assert (one.line, one.rows, two.rows) == (2, 4, 1)
    assert one.contradictions == {
        "category": "line 5 says 'a/c', line 4 'a/b'",
        "title": "line 5 says 'Uno', line 4 'One'",
    }
    assert (one.unclear, two.contradictions, [*found.left_out]) == ({}, {}, [])


def test_image_columns_and_cells_of_several_photos_keep_their_order(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path,
        "listing_id,image_10,image_2,category,image,alt\nL1,10.jpg,2.jpg|2b.jpg,a,1.jpg,11.jpg\nL2,,,a,1.jpg|2.jpg,\n",
        columns={"image_11": "alt"},
    )
    one, two = found.listings
    assert one.images == ("1.jpg", "2.jpg", "2b.jpg", "10.jpg", "11.jpg")
    assert two.images == ("1.jpg", "2.jpg")
    only = catalogue(tmp_path, "listing_id,image_1,image_2,category\nL1,1.jpg,2.jpg,a\n")
    assert only.listings[0].images == ("1.jpg", "2.jpg")
    only = catalogue(tmp_path, "listing_id,image2,Images,category\nL1,2.jpg,1.jpg,a\n")
    assert only.listings[0].images == ("1.jpg", "2.jpg"), "however they are called"


def test_a_list_column_of_parquet_holds_several_photos(tmp_path: Path) -> None:
    table = {
        "listing_id": ["L1", "L2"],
        "image": [["1.jpg", "2.jpg"], [None, "3.jpg"]],
        "category": ["a", "a"],
    }
    pq.write_table(pa.table(table), tmp_path / "listings.parquet")
    found = read_catalogue(str(tmp_path / "listings.parquet"))
    assert [x.images for x in found.listings] == [("1.jpg", "2.jpg"), ("3.jpg",)]


def test_a_listing_loses_what_cannot_be_named_and_keeps_the_rest(tmp_path: Path) -> None:
    found = catalogue(
        tmp_path,
        "listing_id,image,image_2,category\n"
        "L1,../../outside.jpg,1.jpg,a\n"
        "L2,2.jpg,,a\n"
        "L2,../../outside.jpg,,a\n"
        "L3,,,a\n"
        "L3,,,a\n"
        "L4,4.jpg,,\n"
        "L4,5.jpg,,\n",
    )
    one, two = found.listings
    assert (one.images, [x.reason for x in one.lost]) == (("1.jpg",), ["outside the catalogue"])
    assert (two.images, two.lost, two.rows) == (("2.jpg",), (), 1)
    told = [(row.line, row.listing_id, row.reason, row.rows) for row in found.left_out]
    assert told == [
        (4, "L2", "outside the catalogue", 1),
        (5, "L3", "no image", 2),
        (7, "L4", "no category", 2),
    ]


def test_all_photos_of_a_listing_come_in_the_broken_ones_named(shop: Shop) -> None:
    rows = plain(8, image_2="")
    rows[0]["image_2"] = "extra.jpg"
    rows[1] |= {"image": "broken.jpg", "image_2": "L001.jpg"}
    rows[2] |= {"image": "broken.jpg", "image_2": "gone.jpg"}
    shop.write(rows, photos(8) | {"extra.jpg": photo(50), "broken.jpg": photo(51)[:1500]})
    snapshot = shop.curate()
    found = album(snapshot)
    assert len(found["L000"]) == 2
    assert found["L001"] == [by_id(snapshot)["L001"]["photo_id"]]
    assert snapshot.photo_bytes(found["L000"][1]) == photo(50)
    assert reasons(snapshot) == {"L002": "truncated"}
    assert {x for shelf in found.values() for x in shelf} == set(snapshot.photos["photo_id"].to_pylist())
    assert snapshot.artefact.manifest.meta["photos_left_out"] == {"truncated": 1}
    lines = read_tally(shop.store, snapshot.ref, shop.cache).lines()
    assert lines[1].startswith("  photos of kept listings left out: truncated 1 (line 3: ")
    assert snapshot.report["rows"]["photos_left_out"][0]["listing_id"] == "L001"


def test_rows_add_up_and_contradictions_are_told(shop: Shop) -> None:
    rows = plain(6)
    more = [{"listing_id": "L000", "image": "x.jpg", "category": "a/z", "price": "2"}]
    missing = [{"listing_id": "L9", "image": f"gone{i}.jpg", "category": "a/x"} for i in range(3)]
    shop.write([*rows, *more, *missing], photos(6) | {"x.jpg": photo(60)})
    snapshot = shop.curate()
    assert read_tally(shop.store, snapshot.ref, shop.cache).lines() == [
        "kept 6 listings of 10 rows; left out 3: missing 3 (line 9: there is no photo gone0.jpg)",
        "  category contradicts itself: 1, first line 2: line 8 says 'a/z', line 2 'a/x'; the first is taken",
        "  missing: put the photo where the row says, or correct the row",
        "  category contradicts itself: give every listing an id of its own, or state the same in all of its rows",
    ]
    meta = snapshot.artefact.manifest.meta
    assert (meta["rows"], meta["kept_rows"], meta["left_out"]) == (10, 7, {"missing": 3})
    assert meta["contradictions"] == {"category": 1}
    page = (shop.store.root / snapshot.artefact.manifest.file("report.html").key).read_text()
    assert "Rows that contradict each other" in page


def test_listings_that_share_any_photo_are_on_one_side(shop: Shop) -> None:
    count = 40
    rows = plain(2 * count, image_2="")
    for i in range(count):  # the second photo of one is the first of another
        rows[i]["image_2"] = rows[i + count]["image"] = f"L{i + count:03d}.jpg"
    shop.write(rows, photos(2 * count))
    listings = by_id(shop.curate())
    sides = [listings[f"L{i:03d}"]["split"] for i in range(2 * count)]
    assert sides[:count] == sides[count:]
    assert len(set(sides)) > 1
    for i in range(count):
        rows[i]["split"], rows[i + count]["split"] = "test", "train"
    shop.write(
        [
            *rows,
            *(
                {"listing_id": f"M{i}", "image": f"m{i}.jpg", "category": c, "split": "train", "image_2": ""}
                for i, c in enumerate(("a/x", "a/y") * 2)
            ),
        ],
        {f"m{i}.jpg": photo(500 + i) for i in range(4)},
    )
    assert shop.curate().report["splits"] == {"leak": count, "test": count, "train": 4}


def test_a_size_chart_ties_nothing(shop: Shop) -> None:
    shop.write(plain(60, image_2="chart.jpg"), photos(60) | {"chart.jpg": photo(900)})
    snapshot = shop.curate()
    assert {len(shelf) for shelf in album(snapshot).values()} == {2}
    assert set(snapshot.report["splits"]) == {"train", "val", "test"}


def test_several_rows_a_listing(tmp_path: Path, sample_cases: Path) -> None:
    ref = curate(
        DirectoryStore(tmp_path / "store"),
        str(sample_cases / "catalogues" / "multi_rows.csv"),
        SMALL,
        cache_dir=tmp_path / "cache",
    )
    snapshot = CuratedSnapshot.open(DirectoryStore(tmp_path / "store"), ref, tmp_path / "cache")
    assert len(snapshot.listings) == 30
    assert {len(shelf) for shelf in album(snapshot).values()} == {3}
    assert snapshot.artefact.manifest.meta["left_out"] == {}


def test_the_luma_shop_comes_in_whole(tmp_path: Path, sample_data: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    ref = curate(store, str(sample_data / "luma" / "listings.csv"), cache_dir=tmp_path / "cache")
    snapshot = CuratedSnapshot.open(store, ref, tmp_path / "cache")
    meta = snapshot.artefact.manifest.meta
    assert (len(snapshot.listings), meta["rows"], meta["kept_rows"]) == (391, 608, 608)
    assert (meta["left_out"], meta["photos_left_out"]) == ({}, {})
    named = {
        row.listing_id: row.images
        for row in read_catalogue(str(sample_data / "luma" / "listings.csv")).listings
    }
    assert sum(len(images) for images in named.values()) == 608
    assert {x: len(shelf) for x, shelf in album(snapshot).items()} == {
        x: len(set(i)) for x, i in named.items()
    }


def test_columns_that_curation_does_not_look_at_are_passed_on(shop: Shop) -> None:
    rows = plain(6, url="", currency="EUR", availability="in stock")
    rows[0] |= {"url": "https://shop.example/0", "image_url": "https://shop.example/0.jpg"}
    shop.write(rows, photos(6))
    found = by_id(shop.curate())
    names = ("url", "image_url", "currency", "availability")
    assert [found["L000"][n] for n in names] == [
        "https://shop.example/0",
        "https://shop.example/0.jpg",
        "EUR",
        "in stock",
    ]
    assert [found["L001"][n] for n in names] == [None, None, "EUR", "in stock"]
