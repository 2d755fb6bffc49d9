"""Catalogues and photos that change while curation reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.errors import CatalogueError
from tests.catalogue.conftest import Shop, by_id, photo, photos, plain, reasons, visible


def test_a_catalogue_that_changes_while_it_is_read_is_refused(shop: Shop) -> None:
    uri = shop.write(plain(6), photos(6))

    def export_goes_on(now: str, done: int, total: int, note: str = "") -> None:
        if (now, done) == ("read photos", 3):
            with Path(uri).open("a") as file:
                file.write("L006,L006.jpg,a/x\n")

    with pytest.raises(CatalogueError, match=r"catalogue\.csv changed while it was read; run it again when"):
        shop.curate(progress=export_goes_on)
    assert not visible(shop.store)
    shop.curate()  # at rest

    def export_begins_again(now: str, done: int, total: int, note: str = "") -> None:
        Path(uri).unlink(missing_ok=True)

    with pytest.raises(CatalogueError, match=r"catalogue\.csv was removed while it was read"):
        shop.curate(progress=export_begins_again)


def test_a_half_written_catalogue_is_named_where_it_changes(shop: Shop) -> None:
    uri = Path(shop.write(plain(8), photos(8)))
    whole = uri.read_text()
    uri.write_text(whole.rstrip().removesuffix(",a/y"))
    assert shop.curate().report["left_out"]["by_reason"] == {"cut off": 1}

    def export_goes_on(now: str, done: int, total: int, note: str = "") -> None:
        uri.write_text(whole)

    uri.write_text(whole.rstrip().removesuffix("L007.jpg,a/y"))
    with pytest.raises(CatalogueError, match="; what was read ends in the middle of line 9; run it again"):
        shop.curate(progress=export_goes_on)


@pytest.mark.parametrize("new", [photo(77), b"half a ph", None], ids=["another", "torn", "gone"])
def test_a_photo_that_moves_meanwhile_costs_its_listing_at_most(shop: Shop, new: bytes | None) -> None:
    shop.write(plain(40), photos(40))
    path = shop.folder / "L039.jpg"

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "read photos" and done == 0:  # listed, and not read yet
            path.unlink()
            if new is not None:
                shop.put("L039.jpg", new)

    moved = shop.curate(progress=progress)
    reason = {b"half a ph": "not a photo", None: "missing"}.get(new)
    assert reasons(moved) == ({"L039": reason} if reason else {})
    assert len(moved.listings) == (39 if reason else 40)
    path.unlink(missing_ok=True)
    shop.put("L039.jpg", photo(39))  # at rest again
    whole = shop.curate()
    assert whole.ref.id != moved.ref.id
    assert whole.photo_bytes(by_id(whole)["L039"]["photo_id"]) == photo(39)


def test_photos_that_all_move_are_nothing_to_learn_from(shop: Shop) -> None:
    shop.write(plain(8), photos(8))

    def move(stage: str, done: int, total: int, note: str = "") -> None:
        for path in shop.folder.glob("*.jpg"):
            path.unlink()

    with pytest.raises(CatalogueError, match=r"nothing is left .*; 8 rows .*: missing 8 \(line 2"):
        shop.curate(progress=move)
    assert visible(shop.store) == []
