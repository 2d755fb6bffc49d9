"""A store that version 0.1 wrote: it opens, answers as it did, and what is done next starts from it.

`store-0.1.tar.xz` was made by 0.1 itself from `tests.shop` (12 listings a category) and published; `store-0.1.json`
holds what its search answered by appearance alone.
"""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lookalike.catalogue.curation import curate
from lookalike.catalogue.migration import Migrated, migrate
from lookalike.catalogue.snapshot import CuratedSnapshot, listing_photos_of
from lookalike.publishing import live_ref, publication
from lookalike.publishing.retention import plan
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.search import open_searcher
from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Ref, fetch, find, read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.shop import Shop, make_listings, reindex

GOLDEN = Path(__file__).parents[1] / "golden"
SAID = json.loads((GOLDEN / "store-0.1.json").read_text())


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    with tarfile.open(GOLDEN / "store-0.1.tar.xz") as packed:
        packed.extractall(tmp_path / "store", filter="data")
    return DirectoryStore(tmp_path / "store")


def test_it_answers_as_version_0_1_did(store: DirectoryStore, tmp_path: Path) -> None:
    live = live_ref.read_live(store)
    assert live is not None
    assert (str(live.live.index), str(live.live.release)) == (SAID["index"], SAID["release"])
    release, index = (fetch(store, ref, tmp_path / "cache") for ref in (live.live.release, live.live.index))
    searcher = open_searcher(release, index, threads=1)
    assert sorted(searcher.card.aspects) == ["brand", "mark"]
    queries = [Query(SearchRequest(k=5, blend=1.0), listing_id=listing_id) for listing_id in SAID["hits"]]
    for answer, hits in zip(searcher.search_all(queries), SAID["hits"].values(), strict=True):
        assert [[hit.listing_id, hit.distance] for hit in answer.hits] == hits


def test_every_file_of_it_is_whole(store: DirectoryStore, tmp_path: Path) -> None:
    live = live_ref.read_live(store)
    assert live is not None
    assert (
        publication.publish_index(store, live.live.index, by="a test", cache_dir=tmp_path / "cache") == live
    )


def test_each_of_its_listings_has_one_photo(store: DirectoryStore, tmp_path: Path) -> None:
    live = live_ref.read_live(store)
    assert live is not None
    curated = Ref.parse(read_manifest(store, live.live.index).inputs["curated"])
    snapshot = CuratedSnapshot.open(store, curated, tmp_path / "cache")
    assert len(snapshot.listing_photos) == len(snapshot.listings)
    assert set(snapshot.listing_photos["ordinal"].to_pylist()) == {0}
    for name in ("listing_id", "photo_id"):
        assert snapshot.listing_photos[name] == snapshot.listings[name]
    assert listing_photos_of(store, curated, tmp_path / "cache") == snapshot.listing_photos


def test_the_next_index_goes_live_over_it_and_back(store: DirectoryStore, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    live = live_ref.read_live(store)
    assert live is not None
    curated = find(store, Kind.CURATED, Ref.parse(read_manifest(store, live.live.index).inputs["curated"]).id)
    cache.mkdir()
    old = Shop(store, cache, make_listings(12), curated, live.live.release, live.live.index)
    new = reindex(old, per_category=14)
    assert publication.publish_index(store, new.index, by="a test", cache_dir=cache).live.sequence == 2
    back = publication.roll_back(store, by="a test", cache_dir=cache)
    assert back.live.index == live.live.index


def test_its_photos_are_migrated_once_and_stay_where_they_lie(store: DirectoryStore, tmp_path: Path) -> None:
    shop, before = tmp_path / "shop", {info.key: info.etag for info in store.list()}
    shop.mkdir()
    rows = ["listing_id,image,category"]
    for row in make_listings(12):
        (shop / f"{row.photo_id}.jpg").write_bytes(row.photo)
        rows.append(f"{row.listing_id},{row.photo_id}.jpg,{row.category}")
    (shop / "listings.csv").write_text("\n".join(rows) + "\n")
    old = len({row.photo_id for row in make_listings(12)})

    assert migrate(store, cache_dir=tmp_path / "cache") == Migrated(1, added=old, known=0, left=0)
    assert migrate(store, cache_dir=tmp_path / "cache") == Migrated(1, added=0, known=old, left=0)
    assert {info.key: info.etag for info in store.list()}.items() >= before.items()
    curated = curate(store, str(shop / "listings.csv"), cache_dir=tmp_path / "cache")
    assert list(store.list(keys.PACKS)) == []
    snapshot = CuratedSnapshot.open(store, curated, tmp_path / "cache")
    for row in make_listings(12):
        assert snapshot.photo_bytes(row.photo_id) == row.photo

    planned = plan(store, now=datetime.now(UTC) + timedelta(days=2))
    shard = next(entry.key for entry in snapshot.artefact.manifest.files if entry.name.endswith(".tar"))
    assert shard.startswith("curated/")
    assert shard not in planned.keys
