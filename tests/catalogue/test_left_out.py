"""Everything that a catalogue lost stands in a file to act on, also where nothing is left."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from lookalike.errors import CatalogueError
from tests.catalogue.conftest import Shop, photos, plain


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def test_all_rows_and_photos_that_are_lost_stand_in_a_file(shop: Shop) -> None:
    rows = plain(6, image_2="")
    rows[0]["image_2"] = "gone.jpg"
    rows += [{"listing_id": "=cmd|' /C calc'!A0", "category": "a/x", "image": "@gone.jpg"}]
    rows += [{"listing_id": f"X{i}", "category": "a/x", "image": f"{i}.jpg"} for i in range(300)]
    shop.write(rows, photos(6))
    snapshot = shop.curate()
    entry = snapshot.artefact.manifest.file("left-out.csv")
    path = shop.store.local_path(entry.key)
    assert path is not None
    lost = rows_of(path)
    assert len(lost) == 302
    assert {row["reason"] for row in lost} == {"missing"}
    assert lost[0]["listing_id"] == "'=cmd|' /C calc'!A0", "no spreadsheet program runs it"
    assert (lost[0]["line"], lost[0]["what"], lost[0]["rows"]) == ("8", "row", "1")
    assert lost[0]["what_to_do"] == "put the photo where the row says, or correct the row"
    assert (lost[-1]["what"], lost[-1]["listing_id"], lost[-1]["line"]) == ("photo", "L000", "2")


@pytest.mark.parametrize("image", ["gone.jpg", "../outside.jpg"], ids=["photos", "rows"])
def test_where_nothing_is_left_the_file_is_there_and_the_error_names_it(shop: Shop, image: str) -> None:
    shop.write(plain(6, image=image), {})
    with pytest.raises(CatalogueError, match=r"; all 6 with their reasons: \S+\.csv$") as caught:
        shop.curate()
    path = Path(str(caught.value).rpartition(": ")[2])
    assert [row["listing_id"] for row in rows_of(path)] == [f"L{i:03d}" for i in range(6)]
    page = path.with_suffix(".html").read_text()
    assert str(path.with_suffix(".html")) in str(caught.value)
    assert "Left out, by reason" in page
    assert "L005" in page
    with pytest.raises(CatalogueError, match=str(path)):
        shop.curate()  # again: it is written anew
    assert len(list(path.parent.iterdir())) == 2
