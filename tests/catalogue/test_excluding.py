"""Listings that the shop leaves out by hand, and what a re-index takes over from what is live."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lookalike import reindexing, steps, taken_over
from lookalike.catalogue.excluding import EXCLUDED, excluded_from, read_excluded
from lookalike.catalogue.rules import CurationConfig
from lookalike.coding.extraction import extract
from lookalike.errors import CatalogueError
from lookalike.index.builder import build
from lookalike.publishing.live_ref import publish, read_live
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.directory import DirectoryStore
from lookalike.workplace import Workplace, open_workplace
from tests import shop as shops
from tests.catalogue.conftest import Shop, photos, plain, reasons

LIST = "listing_id,what,keep\nL001,label,\nL002,label,is fine\n'=L3,dark,\n"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (LIST, ("=L3", "L001")),
        ("L001\nL002\n", ("L001", "L002")),
        ("L001\n", ("L001",)),
        ("listing_id\nL001\nL001\n\n", ("L001",)),
    ],
    ids=["suspects", "lines", "one line", "a column"],
)
def test_a_list_is_a_table_or_lines(tmp_path: Path, text: str, ids: tuple[str, ...]) -> None:
    (tmp_path / "list.csv").write_text(text)
    assert read_excluded(DirectoryStore(tmp_path / "s"), str(tmp_path / "list.csv"), tmp_path) == ids


def test_a_list_without_ids_is_refused(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("sku,what\nL001,label\n")
    with pytest.raises(CatalogueError, match="has no column 'listing_id': whom does it exclude"):
        read_excluded(DirectoryStore(tmp_path / "s"), str(tmp_path / "list.csv"), tmp_path)


def test_who_is_excluded_is_left_out_and_the_snapshot_keeps_the_list(shop: Shop) -> None:
    shop.write(plain(8), photos(8))
    whole, some = shop.curate(), shop.curate(excluded=["L001", "gone"])
    assert reasons(whole) == {}
    assert reasons(some) == {"L001": "excluded"}
    assert "L001" not in some.listings["listing_id"].to_pylist()
    assert whole.artefact.ref != some.artefact.ref
    assert excluded_from(shop.store, some.artefact.ref, shop.cache) == ("L001", "gone")
    assert read_excluded(shop.store, str(some.artefact.ref), shop.cache) == ("L001", "gone")
    assert excluded_from(shop.store, whole.artefact.ref, shop.cache) == ()
    assert EXCLUDED not in {entry.name for entry in whole.artefact.manifest.files}


def live(place: Workplace, uri: str, work: Path) -> None:
    """What `lookalike run` leaves, with a release that is made in no time."""
    wares = shops.make_listings(4)
    release = shops.write_release(place.store, wares, work)
    curated = steps.curate(place, uri, CurationConfig(min_category=1))
    extraction = extract(place.store, curated, release, cache_dir=work)
    index = build(place.store, curated, extraction, cache_dir=work)
    publish(place.store, release, index, by="a test", expected=None)


def test_a_reindex_reads_the_export_as_the_first_run_did(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOKALIKE_CACHE_DIR", str(tmp_path / "cache"))
    connection = sqlite3.connect("shop.db")
    connection.execute("CREATE TABLE wares (sku TEXT, base_image TEXT, categories TEXT, seen TEXT)")
    media = tmp_path / "media"
    for ware in shops.make_listings(4):
        (media / ware.listing_id[0]).mkdir(parents=True, exist_ok=True)
        path = f"/{ware.listing_id[0]}/{ware.listing_id}.jpg"
        (media / path[1:]).write_bytes(ware.photo)
        connection.execute(
            "INSERT INTO wares VALUES (?, ?, ?, ?)",
            (ware.listing_id, path, f"Default Category/{ware.category}", "x"),
        )
    connection.commit()
    (tmp_path / "list.txt").write_text("0-001\n")
    asked = {"preset": "magento", "photos": str(media), "query": "SELECT * FROM wares"}
    first = open_workplace(str(tmp_path / "store"), **asked, exclude=str(tmp_path / "list.txt"))
    uri = f"sqlite:///{tmp_path / 'shop.db'}"
    live(first, uri, tmp_path / "work")
    (tmp_path / "list.txt").unlink()

    plain_place = open_workplace(str(tmp_path / "store"))
    said = taken_over.live_curation(plain_place)
    assert {name: said[name] for name in ("preset", "photos", "query")} == asked
    made = reindexing.reindex(plain_place, uri)
    now = read_live(plain_place.store)
    assert now is not None
    assert made.ref == now.live.tip, "nothing has changed, so it was read alike"

    connection.execute("DELETE FROM wares WHERE sku = '1-002'")
    connection.commit()
    made = reindexing.reindex(plain_place, uri)
    curated = Ref.parse(read_manifest(plain_place.store, made.ref).inputs["curated"])
    assert read_manifest(plain_place.store, curated).meta["left_out"] == {"excluded": 1}
    assert read_manifest(plain_place.store, curated).meta["listings"] == 22
    anew = reindexing.reindex(open_workplace(str(tmp_path / "store"), exclude="none"), uri)
    curated = Ref.parse(read_manifest(plain_place.store, anew.ref).inputs["curated"])
    assert read_manifest(plain_place.store, curated).meta["listings"] == 23
