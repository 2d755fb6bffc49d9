"""Retention removes what was kept of photos that have gone; what stays is curated as if nothing had."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lookalike.catalogue import lots
from lookalike.catalogue.photo_log import PhotoLog, way_of
from lookalike.catalogue.verdicts import VERSION
from lookalike.publishing.retention import RetentionConfig, apply, plan
from lookalike.storage import keys, tiers
from tests.catalogue.conftest import SMALL, Shop, photo, photos, plain
from tests.catalogue.test_curation import near_copy
from tests.publishing.test_retention import chain, publish

LATER = datetime.now(UTC) + timedelta(days=2)
ONE_EACH = replace(SMALL, shard_bytes=1)
"""Each photo has a pack and a sheet of its own."""
NONE = RetentionConfig(records=0, releases=1)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Of twelve photos, two of them alike, four have been sold since. The snapshot of these is the newest."""
    monkeypatch.setattr(tiers, "_MOST", 100)  # sheets stay apart
    shop = Shop(tmp_path)
    publish(shop.store, chain(shop.store, "live"))
    shop.write(plain(12), photos(12) | {"L009.jpg": near_copy(photo(5), random.Random(0))})
    shop.curate(ONE_EACH)
    shop.write(plain(12)[4:], {})
    shop.curate(ONE_EACH)
    return shop


def sheets(shop: Shop) -> set[str]:
    return {info.key for info in shop.store.list(keys.SHEETS)}


def test_prints_go_with_the_photos_and_come_back_with_them(shop: Shop, tmp_path: Path) -> None:
    before = sheets(shop)
    assert plan(shop.store, NONE).keys == ()  # too young
    apply(shop.store, plan(shop.store, NONE, now=LATER))
    assert (len(before), len(sheets(shop))) == (12, 8)
    assert len(list(shop.store.list(keys.PACKS))) == 8

    for rows, config in ((plain(12, price="2")[4:], ONE_EACH), (plain(12), SMALL)):
        shop.write(rows, {})
        again = shop.curate(config)
        assert again.report["duplicates"]["near_pairs"] == 1
        (tmp_path / str(len(rows))).mkdir()
        other = Shop(tmp_path / str(len(rows)))
        other.folder.rmdir()
        other.folder.symlink_to(shop.folder)
        assert other.curate(config).listings == again.listings
    assert len(sheets(shop)) == 9  # the four that came back share one
    log = PhotoLog.open(shop.store, shop.cache, ONE_EACH)
    assert log.prints.read(log.photos["photo_id"].combine_chunks()).any(axis=(1, 2, 3, 4)).all()


def test_sheets_of_many_small_curations_are_merged_and_the_small_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiers, "_MOST", 3)
    monkeypatch.setattr(lots, "MOST_SMALL", 3)
    shop = Shop(tmp_path)
    publish(shop.store, chain(shop.store, "live"))
    near = {"L009.jpg": near_copy(photo(5), random.Random(0))}
    for count in range(4, 20):
        shop.write(plain(count), photos(count) | (near if count > 9 else {}))
        snapshot = shop.curate()
        apply(shop.store, plan(shop.store, NONE, now=LATER))
        assert len(sheets(shop)) <= 7
        assert len(list(shop.store.list(keys.PACKS))) <= 4
    assert snapshot.report["duplicates"]["near_pairs"] == 1
    (tmp_path / "fresh").mkdir()
    fresh = Shop(tmp_path / "fresh")
    fresh.folder.rmdir()
    fresh.folder.symlink_to(shop.folder)
    assert fresh.curate().listings == snapshot.listings
    logs = [PhotoLog.open(each.store, each.cache, SMALL) for each in (shop, fresh)]
    ids = logs[0].photos["photo_id"].combine_chunks()
    grown, whole = (log.prints.read(ids) for log in logs)
    assert (grown == whole).all()
    assert grown.any(axis=(1, 2, 3, 4)).all()


def test_nothing_of_photos_goes_beside_a_curation(shop: Shop) -> None:
    before = {info.key for info in shop.store.list(keys.PHOTOS)}
    planned = plan(shop.store, NONE, now=LATER)
    assert any(key.startswith(keys.SHEETS) for key in planned.keys)
    note = keys.curating("somebody")
    shop.store.put(note, b"{}")
    os.utime(shop.store.root / note, (LATER.timestamp(),) * 2)
    assert not any(key.startswith(keys.PHOTOS) for key in plan(shop.store, NONE, now=LATER).keys)
    apply(shop.store, planned)
    assert {info.key for info in shop.store.list(keys.PHOTOS)} == before


def test_old_verdicts_go_and_so_do_tables_of_a_way_that_has_no_photo_left(shop: Shop) -> None:
    way = way_of(ONE_EACH)
    old, now, newer = (f"{keys.copies(way, VERSION + n)}pairs/x.parquet" for n in (-1, 0, 1))
    for key in (old, newer):
        shop.store.put(key, b"")
    removed = plan(shop.store, NONE, now=LATER).keys
    assert old in removed
    assert newer not in removed
    assert not any(key.startswith(now.rpartition("/")[0]) for key in removed)

    stricter = replace(ONE_EACH, keep_side=64, shrunk_side=64)
    ref = shop.curate(stricter).ref
    dead = {info.key for info in shop.store.list(f"{keys.PHOTOS}{way_of(stricter)}/")}
    assert dead
    shop.store.delete(keys.manifest(ref.kind, ref.id))
    planned = plan(shop.store, NONE, now=LATER)
    assert dead <= set(planned.keys)
    assert not any(key.startswith((keys.photo_log(way), keys.sketches(way))) for key in planned.keys)
    apply(shop.store, planned)
    assert shop.curate(stricter).ref == ref
