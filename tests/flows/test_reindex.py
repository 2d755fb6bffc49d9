"""The re-index flow: new listings found, sold ones gone, codes for new photos alone, the model release untouched."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.coding.extraction import extract
from lookalike.index.builder import build
from lookalike.index.layers import open_index
from lookalike.publishing import publication
from lookalike.storage import keys
from lookalike.storage.artefacts import fetch, read_manifest
from tests.shop import Listing

from .conftest import Prefect, Shop


def searchable(shop: Shop) -> set[str]:
    base, *deltas = (fetch(shop.store, ref, shop.cache) for ref in shop.live().refs[1:])
    index = open_index(base, deltas)
    return {
        listing_id
        for category in index.categories
        for part in index.partitions(category)
        for listing_id in part.listing_ids.filter(pa.array(part.alive_mask())).to_pylist()
    }


def coded(shop: Shop) -> list[str]:
    """Photo ids in the code shards of the live release; a photo that was encoded twice is there twice."""
    found = []
    for info in shop.store.list(keys.code_shards(shop.live().release.id)):
        if info.key.endswith(".parquet"):
            path = shop.store.local_path(info.key)
            found += pq.read_table(path, columns=["photo_id"])["photo_id"].to_pylist()
    return found


def test_fifty_added_twenty_sold(prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]) -> None:
    added, sold = listings[-50:], listings[:20]
    release, codes_before = shop.live().release, coded(shop)
    assert searchable(shop) == {row.listing_id for row in listings[:-50]}
    shop.offer(listings[20:])

    prefect.result("reindex", shop.where())

    assert shop.live().release == release
    assert searchable(shop) == {row.listing_id for row in listings[20:]}
    assert {row.listing_id for row in added} < searchable(shop)
    assert not {row.listing_id for row in sold} & searchable(shop)
    curated = CuratedSnapshot.open(shop.store, shop.live_curated(), shop.cache)
    new = set(curated.photos["photo_id"].to_pylist()) - set(codes_before)
    assert len(new) >= 40
    assert sorted(coded(shop)) == sorted([*codes_before, *new])  # each new photo once, no old one again


def test_it_keeps_the_categories_of_the_model_and_the_shards_of_the_index(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    release = shop.live().release
    curated = curate(shop.store, str(shop.catalogue), CurationConfig(min_category=5), cache_dir=shop.cache)
    extraction = extract(shop.store, curated, release, cache_dir=shop.cache, threads=1)
    index = build(shop.store, curated, extraction, shards=2, cache_dir=shop.cache)
    publication.publish_index(shop.store, index, by="test", cache_dir=shop.cache)
    lamps = [row for row in listings if row.category == "home/lamp"]
    left = [row for row in listings if row.category != "home/lamp"] + lamps[:3]
    shop.offer(left)

    prefect.result("reindex", shop.where())

    assert searchable(shop) == {row.listing_id for row in left}
    meta = read_manifest(shop.store, shop.live().tip).meta
    assert meta["categories"]["home/lamp"] == 3
    assert meta["shards"] == 2


def test_a_new_title_is_a_delta_unless_a_base_is_asked_for(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    before = shop.live()
    first, *rest = listings[:-50]
    shop.offer((replace(first, title="Another title"), *rest))
    prefect.result("reindex", shop.where())
    live = shop.live()
    assert (live.index, len(live.deltas)) == (before.index, 1)
    assert read_manifest(shop.store, live.tip).meta["delta"] == {"rows": 1, "tombstones": 1, "merged": 0}
    assert searchable(shop) == {row.listing_id for row in listings[:-50]}
    prefect.result("reindex", shop.where() | {"base": True})
    assert shop.live().index != before.index
    assert not shop.live().deltas


def test_an_unchanged_inventory_costs_nothing(prefect: Prefect, shop: Shop) -> None:
    prefect.result(
        "reindex", shop.where()
    )  # the fixture has moved its photos: they are seen where they lie now
    before = {info.key: info.modified for info in shop.store.list()}
    prefect.result("reindex", shop.where())
    assert {info.key: info.modified for info in shop.store.list()} == before


def test_it_says_what_it_left_out_in_log_and_artifact(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    shop.offer(listings)
    with shop.catalogue.open("a") as file:
        file.writelines(f"gone-{number},photos/gone.jpg,toys/robot,,,\n" for number in range(7))
    log, _ = (process := prefect.run("reindex", shop.where())).communicate(timeout=240)
    assert process.returncode == 0, log
    kept, rows = len(listings), len(listings) + 7
    words = f"kept {kept} of {rows} rows; left out 7: missing 7 (line {kept + 2}: there is no photo"
    newest = {"artifacts": {"key": {"any_": ["curation-losses"]}}, "sort": "CREATED_DESC", "limit": 1}
    table = prefect.ask("/artifacts/filter", newest)[0]
    assert words in table["description"]
    assert json.loads(table["data"])[0]["what"] == "missing"
    assert json.loads(table["data"])[0]["rows"] == 7
    assert words in log


def test_photos_elsewhere_are_read_where_the_worker_allows_it(
    prefect: Prefect, shop: Shop, tmp_path: Path, listings: tuple[Listing, ...]
) -> None:
    shop.offer(listings)
    media = tmp_path / "media"
    (shop.catalogue.parent / "photos").rename(media)
    shop.catalogue.write_text(shop.catalogue.read_text().replace(",photos/", f",{media}/"))
    process = prefect.run("reindex", shop.where())
    log, _ = process.communicate(timeout=240)
    assert process.returncode != 0
    assert f"outside the catalogue {len(listings)} (line 2: " in log
    prefect.result("reindex", shop.where(), LOOKALIKE_PHOTO_ROOTS=str(media))
    assert searchable(shop) == {row.listing_id for row in listings}


def test_without_anything_live_it_says_so(prefect: Prefect, shop: Shop, tmp_path: Path) -> None:
    process = prefect.run("reindex", shop.where() | {"store": (tmp_path / "empty").as_uri()})
    log, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "nothing is live yet, so there is nothing to re-index; retrain first" in log
