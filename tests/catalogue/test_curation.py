"""Curation from end to end: small catalogues in, snapshots out, and what happens when something is wrong."""

from __future__ import annotations

import hashlib
import io
import os
import random
import tarfile
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.catalogue.snapshot import LISTING_PHOTOS_SCHEMA, CuratedSnapshot, listing_photos_of
from lookalike.errors import CatalogueError, CorruptObject, SettingsError, StoreUnavailable
from lookalike.imaging.photos import load_square, probe
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.verification import damages
from sample_shop.flaws import near_copy
from tests.catalogue.conftest import SMALL, Shop, by_id, photo, photos, plain, reasons, visible


def test_listings_and_photos_come_back(shop: Shop) -> None:
    rows = plain(6)
    rows[0] |= {
        "title": "A thing",
        "price": "3.50",
        "product": "P",
        "seller": "S",
        "aspect_colour": "red|blue",
    }
    shop.write(rows, photos(6))
    snapshot = shop.curate()
    listings = by_id(snapshot)
    assert list(listings) == sorted(listings)
    first = listings["L000"]
    assert (first["category"], first["title"], first["price"], first["product"]) == (
        "a/x",
        "A thing",
        3.5,
        "P",
    )
    assert first["aspect_colour"] == ["red", "blue"]
    assert listings["L001"]["aspect_colour"] is None
    assert listings["L001"]["title"] is None
    assert snapshot.aspects == ("colour",)
    for row in snapshot.photos.to_pylist():
        data = snapshot.photo_bytes(row["photo_id"])
        assert hashlib.md5(data).hexdigest() == row["photo_id"]
        assert (row["width"], row["height"]) == (120, 100)
    assert snapshot.photos["photo_id"].to_pylist() == sorted(set(snapshot.listings["photo_id"].to_pylist()))
    with pytest.raises(KeyError):
        snapshot.photo_bytes("0" * 32)


def test_each_listing_names_its_photos(shop: Shop) -> None:
    rows = plain(6)
    rows[3] |= {"image": "L001.jpg"}
    shop.write(rows, photos(6))
    snapshot = shop.curate()
    table = snapshot.listing_photos
    assert table.schema == LISTING_PHOTOS_SCHEMA
    assert table["listing_id"].to_pylist() == sorted(by_id(snapshot))
    assert table["ordinal"].to_pylist() == [0] * 6
    assert table["photo_id"].to_pylist() == [row["photo_id"] for row in by_id(snapshot).values()]
    assert listing_photos_of(shop.store, snapshot.ref, shop.cache) == table


def test_packs_are_tar_files_of_the_asked_size(shop: Shop) -> None:
    shop.write(plain(8), photos(8))
    snapshot = shop.curate(replace(SMALL, shard_bytes=4_000))
    packs = [entry for entry in snapshot.artefact.manifest.files if entry.name.endswith(".tar")]
    assert len(packs) > 2
    members: dict[str, bytes] = {}
    for pack in packs:
        path = shop.store.local_path(pack.key)
        assert path is not None
        assert pack.key == f"photos/packs/{hashlib.sha256(path.read_bytes()).hexdigest()}.tar"
        with tarfile.open(path) as tar:
            for member in tar:
                members[member.name] = tar.extractfile(member).read()
                assert (member.mtime, member.uid) == (0, 0)
    assert members == {f"{p}.jpg": snapshot.photo_bytes(p) for p in snapshot.photos["photo_id"].to_pylist()}


def test_large_photos_are_shrunk_and_small_ones_kept(shop: Shop) -> None:
    large = photo(1, 900, 600)
    shop.write(plain(4), photos(4) | {"L001.jpg": large})
    snapshot = shop.curate()
    photo_id = by_id(snapshot)["L001"]["photo_id"]
    assert photo_id == hashlib.md5(large).hexdigest()
    stored = snapshot.photo_bytes(photo_id)
    assert (probe(stored).format, probe(stored).width, probe(stored).height) == ("JPEG", 384, 256)
    assert np.abs(load_square(stored, 32).astype(int) - load_square(large, 32).astype(int)).mean() < 3
    row = next(row for row in snapshot.photos.to_pylist() if row["photo_id"] == photo_id)
    assert (row["width"], row["height"]) == (900, 600)


def test_photos_that_are_no_good_are_left_out_with_a_reason(shop: Shop) -> None:
    bad = {
        "text.jpg": b"this is text",
        "empty.jpg": b"",
        "truncated.jpg": photo(50)[:1500],
        "tiny.jpg": photo(51, 40, 90),
        "strip.jpg": photo(52, 900, 100),
        "blank.jpg": encoded_blank(),
        "huge.jpg": photo(53, 400, 400),
        "heavy.jpg": photo(54) + b"\0" * 30_000,
    }
    images = [*bad, "gone.jpg", "."]
    rows = [*plain(6), *({"listing_id": name, "image": name, "category": "a/x"} for name in images)]
    shop.write(rows, photos(6) | bad)
    limits = replace(SMALL.limits, max_pixels=150_000, max_bytes=30_000)
    snapshot = shop.curate(replace(SMALL, limits=limits))
    assert reasons(snapshot) == {
        "text.jpg": "not a photo",
        "empty.jpg": "not a photo",
        "truncated.jpg": "truncated",
        "tiny.jpg": "tiny",
        "strip.jpg": "extreme shape",
        "blank.jpg": "blank",
        "huge.jpg": "too large",
        "heavy.jpg": "too large",
        "gone.jpg": "missing",
        ".": "malformed image",
    }
    assert len(snapshot.listings) == 6
    for path in shop.store.root.rglob("report.*"):
        assert b"this is" not in path.read_bytes(), "what a file holds is nobody's business"
        assert b"b&#x27;" not in path.read_bytes()
    lines = {row["listing_id"]: row["line"] for row in snapshot.report["rows"]["left_out"]}
    assert (lines["text.jpg"], lines["gone.jpg"]) == (8, 16)


def encoded_blank() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (100, 100), (200, 200, 200)).save(out, "JPEG")
    return out.getvalue()


def test_exact_copies_share_one_photo_and_near_copies_one_group(shop: Shop) -> None:
    original = photo(0, 200, 160)
    copies = {"L002.jpg": original, "L004.jpg": near_copy(original, random.Random(0))}
    shop.write(plain(8), photos(8) | {"L000.jpg": original} | copies)
    snapshot = shop.curate()
    listings = by_id(snapshot)
    assert listings["L000"]["photo_id"] == listings["L002"]["photo_id"] != listings["L004"]["photo_id"]
    assert len(snapshot.photos) == 7
    assert listings["L000"]["group"] == listings["L002"]["group"] == listings["L004"]["group"]
    assert listings["L001"]["group"] == listings["L001"]["photo_id"]
    assert snapshot.report["duplicates"] == {
        "photos_of_several_listings": 1,
        "listings_sharing_a_photo": 2,
        "near_pairs": 1,
    }


def test_the_group_is_the_product_also_for_a_copy_that_does_not_name_it(shop: Shop) -> None:
    rows = plain(6)
    rows[0]["product"] = rows[3]["product"] = "P1"
    shop.write(rows, photos(6) | {"L002.jpg": photo(0)})
    listings = by_id(shop.curate())
    assert {listings[x]["group"] for x in ("L000", "L002", "L003")} == {"P1"}


def test_small_categories_are_merged_or_left_out_and_said(shop: Shop) -> None:
    rows = [*plain(8, ("a/x", "b/y")), *plain(3, ("a/one", "a/two", "c/z"))]
    for i, row in enumerate(rows):
        row["listing_id"] = f"L{i:03d}"
    shop.write(rows, photos(11))
    snapshot = shop.curate()
    listings = by_id(snapshot)
    assert (listings["L008"]["category"], listings["L008"]["source_category"]) == ("a", "a/one")
    assert listings["L009"]["category"] == "a"
    assert reasons(snapshot) == {"L010": "category too small"}
    merged = {entry["category"]: entry["merged_from"] for entry in snapshot.report["categories"]}
    assert merged == {"a": ["a/one", "a/two"], "a/x": [], "b/y": []}
    assert snapshot.report["categories_left_out"] == ["c/z"]


def test_categories_of_a_model_stay_however_few_are_left(shop: Shop) -> None:
    rows = [*plain(8, ("a/x", "b/y")), *plain(3, ("a/one", "a/two", "c/z"))]
    for i, row in enumerate(rows):
        row["listing_id"] = f"L{i:03d}"
    shop.write(rows, photos(11))
    to_learn = shop.curate()
    assert shop.curate(known=("a", "a/x", "b/y")).ref == to_learn.ref
    snapshot = shop.curate(known=("a", "a/x", "b/y", "c/z"))
    assert snapshot.ref != to_learn.ref
    assert by_id(snapshot)["L010"]["category"] == "c/z"
    stages: list[str] = []
    again = shop.curate(known=("c/z", "b/y", "a", "a/x"), progress=lambda stage, *_: stages.append(stage))
    assert again.ref == snapshot.ref
    assert set(stages) == {"read photos"}

    shop.write(rows[:4:2], photos(4))
    only = shop.curate(known=("a/x", "b/y"))
    assert {row["category"] for row in by_id(only).values()} == {"a/x"}
    with pytest.raises(CatalogueError, match="telling things apart takes two"):
        shop.curate()


def test_given_splits_stay_and_leaks_leave_training(shop: Shop) -> None:
    rows = plain(12)
    for i, row in enumerate(rows):
        row["split"] = "val" if i < 4 else "train"
    shop.write(rows, photos(12) | {"L006.jpg": photo(0)})
    splits = {key: row["split"] for key, row in by_id(shop.curate()).items()}
    assert splits["L000"] == "val"
    assert splits["L006"] == "leak"
    assert Counter(splits.values()) == {"val": 4, "train": 7, "leak": 1}
    kept = {key: row["split"] for key, row in by_id(shop.curate(replace(SMALL, leaks="nothing"))).items()}
    assert kept["L006"] == "train"


def test_sellers_can_be_capped_and_kept_on_one_side(shop: Shop) -> None:
    rows = plain(60)
    for i, row in enumerate(rows):
        row["seller"] = f"S{i // 10}" if i < 50 else ""
    shop.write(rows, photos(60))
    snapshot = shop.curate(replace(SMALL, seller_cap=3, keep_sellers=True))
    counts = Counter((row["seller"], row["category"]) for row in by_id(snapshot).values() if row["seller"])
    assert set(counts.values()) == {3}
    assert Counter(reasons(snapshot).values()) == {"seller cap": 20}
    sides = defaultdict(set)
    for row in by_id(snapshot).values():
        if row["seller"]:
            sides[row["seller"]].add(row["split"])
    assert all(len(found) == 1 for found in sides.values())
    assert snapshot.report["ties"]["by"] == ["photo_groups", "product", "seller"]


def test_the_same_input_gives_the_same_bytes_in_another_place(shop: Shop, tmp_path: Path) -> None:
    rows, files = plain(10), photos(10)
    shop.write(rows, files)
    first = shop.curate()
    (tmp_path / "other").mkdir()
    other = Shop(tmp_path / "other")
    other.write(rows, files)
    assert other.curate().ref == first.ref
    again = shop.curate()
    assert again.ref == first.ref


def test_what_changes_the_result_changes_the_id(shop: Shop) -> None:
    shop.write(plain(8), photos(8))
    first = shop.curate()
    assert shop.curate(replace(SMALL, min_side=65)).ref.id != first.ref.id
    (shop.folder / "L001.jpg").write_bytes(photo(99))
    changed = shop.curate()
    assert changed.ref.id != first.ref.id
    (shop.folder / "L001.jpg").write_bytes(photo(1))
    assert shop.curate().ref == first.ref


def test_work_that_is_done_is_not_done_again(shop: Shop) -> None:
    shop.write(plain(8), photos(8))
    shop.curate()
    stages: list[str] = []
    shop.curate(progress=lambda stage, done, total, note="": stages.append(stage))
    assert set(stages) == {"read photos"}


def test_a_run_that_dies_leaves_nothing_and_the_next_gives_the_same(shop: Shop, tmp_path: Path) -> None:
    shop.write(plain(30), photos(30))

    def die(at: str) -> object:
        def progress(stage: str, done: int, total: int, note: str = "") -> None:
            if stage == at and done >= min(total, 15):
                raise KeyboardInterrupt

        return progress

    for stage in ("read photos", "write snapshot"):
        with pytest.raises(KeyboardInterrupt):
            shop.curate(progress=die(stage), config=replace(SMALL, shard_bytes=1))
        assert visible(shop.store) == []
        assert list(shop.cache.glob("curate-*")) == []
    (tmp_path / "other").mkdir()
    undisturbed = Shop(tmp_path / "other")
    undisturbed.write(plain(30), photos(30))
    config = replace(SMALL, shard_bytes=1)
    assert shop.curate(config).ref == undisturbed.curate(config).ref


@pytest.mark.parametrize(
    ("rows", "files", "message"),
    [
        (plain(6, ("a/x",)), photos(6), r"only the category a/x is left"),
        (plain(6, ("a/x", "a/y")), {}, r"nothing is left to learn from; 6 rows were left out: missing 6"),
        (
            plain(2, ("a/x", "b/y")),
            photos(2),
            r"nothing is left to learn from; 2 rows .* category too small 2",
        ),
    ],
)
def test_too_little_to_learn_from_is_said(
    shop: Shop, rows: list[dict[str, object]], files: dict[str, bytes], message: str
) -> None:
    shop.write(rows, files)
    with pytest.raises(CatalogueError, match=message):
        shop.curate()
    assert visible(shop.store) == []


def test_columns_of_the_catalogue_can_be_renamed(shop: Shop) -> None:
    rows = [row | {"sender_id": f"S{i}"} for i, row in enumerate(plain(6))]
    shop.write(rows, photos(6))
    snapshot = shop.curate(columns={"seller": "sender_id"})
    assert by_id(snapshot)["L003"]["seller"] == "S3"
    assert snapshot.ref.id != shop.curate().ref.id


@pytest.mark.parametrize(
    "wrong",
    [{"min_category": 0}, {"max_ratio": 0.5}, {"val_share": 0.5, "test_share": 0.5}, {"shrunk_side": 400}],
)
def test_a_configuration_out_of_range_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        CurationConfig(**wrong)


def test_a_store_that_cannot_be_written_says_so(shop: Shop, tmp_path: Path) -> None:
    uri = shop.write(plain(6), photos(6))
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StoreUnavailable, match="Not a directory"):
        curate(DirectoryStore(tmp_path / "file"), uri, SMALL, cache_dir=shop.cache)
    if os.geteuid() != 0:  # root may write anywhere
        (tmp_path / "locked").mkdir(mode=0o500)
        with pytest.raises(StoreUnavailable, match="Permission denied"):
            curate(DirectoryStore(tmp_path / "locked"), uri, SMALL, cache_dir=shop.cache)


def test_a_damaged_snapshot_is_refused_and_named(shop: Shop) -> None:
    shop.write(plain(6), photos(6))
    snapshot = shop.curate()
    photo_id = snapshot.photos["photo_id"][0].as_py()
    path = shop.store.local_path(snapshot.artefact.manifest.file("photos-00000.tar").key)
    assert path is not None
    data = bytearray(path.read_bytes())
    data[600] ^= 1
    path.write_bytes(data)
    again = CuratedSnapshot.open(shop.store, snapshot.ref, shop.cache)
    with pytest.raises(CorruptObject, match=r"photos/packs/.*\.tar does not match its digest"):
        again.photo_bytes(photo_id)
    assert [error.key for error in damages(shop.store, snapshot.ref)] == [
        snapshot.artefact.manifest.file("photos-00000.tar").key
    ]
    with pytest.raises(CorruptObject, match="has digest"):
        CuratedSnapshot.open(shop.store, Ref(Kind.CURATED, snapshot.ref.id, "0" * 64), shop.cache)


def test_names_from_the_catalogue_cannot_write_into_the_page(shop: Shop) -> None:
    nasty = "<img src=x onerror=alert(1)>"
    rows = [*plain(8, ("a/x", "b/<b>y")), {"listing_id": nasty, "category": "a/x", "image": "gone.jpg"}]
    shop.write(rows, photos(8))
    snapshot = shop.curate()
    page = (shop.store.root / snapshot.artefact.manifest.file("report.html").key).read_text()
    assert nasty not in page
    assert "<b>y" not in page
    assert "&lt;b&gt;y" in page


def test_splits_stay_when_every_group_gains_a_near_duplicate(shop: Shop) -> None:
    rows = plain(60)
    shop.write(rows, photos(60))
    parent = shop.curate()
    sides = {key: row["split"] for key, row in by_id(parent).items()}
    more = [*rows, *(row | {"listing_id": f"A{i:03d}"} for i, row in enumerate(rows))]
    copies = {f"A{i:03d}.jpg": near_copy(photo(i), random.Random(i)) for i in range(60)}
    shop.write(more, copies)
    drawn = {key: row["split"] for key, row in by_id(shop.curate()).items()}
    assert any(drawn[key] != side for key, side in sides.items())
    snapshot = shop.curate(parent=parent.ref)
    kept = {key: row["split"] for key, row in by_id(snapshot).items()}
    assert {key: kept[key] for key in sides} == sides
    groups = defaultdict(set)
    for row in by_id(snapshot).values():
        groups[row["group"]].add(row["split"])
    assert all(len(found) == 1 for found in groups.values())
    held_out = {row["group"] for row in by_id(parent).values() if row["split"] == "train"}
    assert not [
        r for r in by_id(snapshot).values() if r["split"] in ("val", "test") and r["group"] in held_out
    ]
    assert shop.curate(parent=snapshot.ref).ref == snapshot.ref  # unchanged, so itself
    assert shop.curate(parent=parent.ref).ref == snapshot.ref
    shop.write(rows, {})
    assert shop.curate(parent=parent.ref).ref == parent.ref
