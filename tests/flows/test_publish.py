"""Publishing: the quality gate stops what is worse; of two publishers one wins and the other says so."""

from __future__ import annotations

import dataclasses

import pytest

from lookalike.errors import CorruptObject, LostRace, ObjectNotFound, QualityGateError, SettingsError
from lookalike.publishing import publication
from lookalike.quality.gate import GateConfig, compare
from lookalike.storage.artefacts import Ref, read_manifest
from tests.shop import CATEGORIES, Listing, write_release

from .conftest import Prefect, Shop


def another_pair(shop: Shop, listings: tuple[Listing, ...], seed: int) -> Ref:
    """The index snapshot of another release, as good as the live one, on the live catalogue."""
    return shop.index(shop.live_curated(), write_release(shop.store, listings, shop.cache, seed=seed))


def worse_release(shop: Shop, listings: tuple[Listing, ...]) -> Ref:
    """A release that was taught wrong categories."""
    wrong = {name: CATEGORIES[(i + 1) % len(CATEGORIES)] for i, name in enumerate(CATEGORIES)}
    taught = tuple(dataclasses.replace(row, category=wrong[row.category]) for row in listings)
    return write_release(shop.store, taught, shop.cache, seed=1)


def test_a_worse_release_stops_before_publishing_and_shows_why(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    release, live = worse_release(shop, listings), shop.live()
    index = shop.index(shop.live_curated(), release)
    process = prefect.run("publish", {"store": shop.store.uri, "index": str(index), "threads": 1})
    log, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert (
        "QualityGateError: surely worse than the live release by more than 0.005: category top-1 1.000 -> 0.000"
        in log
    )
    assert "nothing is published" in log
    assert shop.live() == live
    newest = {"artifacts": {"key": {"any_": ["quality-gate"]}}, "sort": "CREATED_DESC", "limit": 1}
    table = prefect.ask("/artifacts/filter", newest)[0]
    assert table["description"].startswith(f"FAILED: {release.id} against {live.release.id}")
    assert "WORSE" in table["data"]


def test_the_gate_asks_both_releases_about_the_same_held_out_photos(
    shop: Shop, listings: tuple[Listing, ...]
) -> None:
    worse, live, curated = worse_release(shop, listings), shop.live().release, shop.live_curated()
    report = compare(shop.store, curated, worse, live, cache_dir=shop.cache)
    top1 = next(row for row in report.rows if row.measure == "category top-1")
    assert (top1.live, top1.new, top1.passed) == (1.0, 0.0, False)
    assert not report.passed
    assert report.split == "test"
    assert compare(shop.store, curated, worse, live, GateConfig(margin=1.0), cache_dir=shop.cache).passed
    assert compare(shop.store, curated, live, worse, cache_dir=shop.cache).passed
    assert compare(shop.store, curated, worse, None, cache_dir=shop.cache).passed  # the first one always does


def test_the_gate_does_not_pass_what_it_cannot_see(shop: Shop, listings: tuple[Listing, ...]) -> None:
    from lookalike.catalogue.curation import CurationConfig, curate

    nothing_held_out = CurationConfig(min_category=1, val_share=0, test_share=0)
    curated = curate(shop.store, str(shop.catalogue), nothing_held_out, cache_dir=shop.cache)
    worse = worse_release(shop, listings)
    with pytest.raises(QualityGateError, match="no photo is held out"):
        compare(shop.store, curated, worse, shop.live().release, cache_dir=shop.cache)


def test_of_two_publishers_at_once_one_wins_and_the_other_says_so(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    began_with = str(shop.live().release)
    indexes = [another_pair(shop, listings, seed) for seed in (1, 2)]
    asked = [
        {"store": shop.store.uri, "index": str(index), "margin": 1.0, "replaces": began_with, "threads": 1}
        for index in indexes
    ]
    processes = [prefect.run("publish", parameters) for parameters in asked]
    logs = [process.communicate(timeout=120)[0] for process in processes]
    codes = [process.returncode for process in processes]
    assert sorted(code == 0 for code in codes) == [False, True], logs
    winner = codes.index(0)
    assert shop.live().index == indexes[winner]
    assert shop.live().sequence == 2
    loser = logs[1 - winner]
    assert "LostRace" in loser
    assert "when this work began" in loser or "another publisher moved the live ref first" in loser


def test_a_damaged_index_never_becomes_live(shop: Shop, listings: tuple[Listing, ...]) -> None:
    live, damaged = shop.live(), another_pair(shop, listings, seed=3)
    segment = read_manifest(shop.store, damaged).files[0]
    path = shop.store.local_path(segment.key)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptObject, match="does not match its digest"):
        publication.publish_index(shop.store, damaged, by="test", cache_dir=shop.cache)
    assert shop.live() == live


def test_rolling_back_returns_to_a_pair_that_is_whole(shop: Shop, listings: tuple[Listing, ...]) -> None:
    first = shop.live()
    with pytest.raises(SettingsError, match="nothing to roll back to"):
        publication.roll_back(shop.store, by="test", cache_dir=shop.cache)
    publication.publish_index(
        shop.store, another_pair(shop, listings, seed=4), by="test", cache_dir=shop.cache
    )
    with pytest.raises(LostRace, match="#2 is live by now, not #1"):
        publication.roll_back(shop.store, by="test", cache_dir=shop.cache, from_sequence=1)
    back = publication.roll_back(shop.store, by="test", cache_dir=shop.cache, from_sequence=2)
    assert (back.live.release, back.live.index) == (first.release, first.index)


def test_a_pair_that_is_no_longer_whole_is_not_rolled_back_to(
    shop: Shop, listings: tuple[Listing, ...]
) -> None:
    first = shop.live()
    publication.publish_index(
        shop.store, another_pair(shop, listings, seed=5), by="test", cache_dir=shop.cache
    )
    shop.store.delete(read_manifest(shop.store, first.index).files[0].key)
    with pytest.raises(ObjectNotFound, match="does not exist"):
        publication.roll_back(shop.store, by="test", cache_dir=shop.cache)
    assert shop.live().sequence == 2
