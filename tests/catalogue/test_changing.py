"""Catalogues and photos that change while curation reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lookalike.errors import CatalogueError
from tests.catalogue.conftest import Shop, by_id, photo, photos, plain, reasons, visible


@pytest.mark.parametrize("stage", ["read photos", "decode photos"])
def test_a_catalogue_that_changes_while_it_is_read_is_refused(shop: Shop, stage: str) -> None:
    uri = shop.write(plain(6), photos(6))

    def export_goes_on(now: str, done: int, total: int, note: str = "") -> None:
        if (now, done) == (stage, 3):
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


def moving(shop: Shop, move: Callable[[], object]) -> Callable[..., None]:
    """A progress that moves photos once all have been identified, and before they are decoded."""

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "read photos" and done == total:
            move()

    return progress


@pytest.mark.parametrize("new", [photo(77), b"half a ph", None], ids=["another", "torn", "gone"])
def test_a_photo_that_moves_leaves_out_its_listing_and_not_the_run(
    shop: Shop, tmp_path: Path, new: bytes | None
) -> None:
    (tmp_path / "again").mkdir()
    shop.write(plain(8), photos(8))
    path = shop.folder / "L003.jpg"

    def move() -> None:
        path.unlink()
        if new is not None:
            path.write_bytes(new)

    crippled = shop.curate(progress=moving(shop, move))
    assert reasons(crippled) == {"L003": "changed while it was read"}
    assert crippled.artefact.manifest.meta["left_out"] == {"changed while it was read": 1}
    assert set(by_id(crippled)) == {f"L{i:03d}" for i in range(8) if i != 3}

    path.write_bytes(photo(3))  # at rest again
    whole = shop.curate()
    assert whole.ref.id != crippled.ref.id
    assert len(whole.listings) == 8

    again = Shop(tmp_path / "again")
    again.write(plain(8), photos(8))
    path = again.folder / "L003.jpg"
    assert (
        again.curate(progress=moving(again, move)).ref == crippled.ref
    )  # the same work gives the same bytes


def test_a_photo_that_moves_is_taken_from_another_listing_that_has_it(shop: Shop) -> None:
    shop.write(plain(8), photos(8) | {"L003.jpg": photo(1)})
    snapshot = shop.curate(progress=moving(shop, (shop.folder / "L001.jpg").unlink))
    assert reasons(snapshot) == {"L001": "changed while it was read"}
    assert snapshot.photo_bytes(by_id(snapshot)["L003"]["photo_id"]) == photo(1)


def test_photos_that_all_move_are_nothing_to_learn_from(shop: Shop) -> None:
    shop.write(plain(8), photos(8))

    def move() -> None:
        for path in shop.folder.glob("*.jpg"):
            path.unlink()

    with pytest.raises(
        CatalogueError, match=r"nothing is left .*; 8 rows .*: changed while it was read 8 \(line 2"
    ):
        shop.curate(progress=moving(shop, move))
    assert visible(shop.store) == []
