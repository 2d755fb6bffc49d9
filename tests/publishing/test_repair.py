"""A live ref that cannot be read is replaced, by somebody who asks for it, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.errors import CorruptObject, ObjectNotFound, SettingsError
from lookalike.publishing import live_ref, publication
from lookalike.publishing.repair import repair
from lookalike.storage import keys
from lookalike.storage.artefacts import read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.shop import Shop, open_shop, reindex


@pytest.fixture
def shops(tmp_path: Path) -> tuple[Shop, Shop]:
    """A shop whose second index is live."""
    first = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=2)
    second = reindex(first, per_category=3)
    for shop in (first, second):
        publication.publish_index(shop.store, shop.index, by="test", cache_dir=shop.cache_dir, accept=True)
    return first, second


def damage(shop: Shop, cut: int = 40) -> bytes:
    """Cut the end of the live ref off."""
    data = shop.store.get(keys.LIVE_REF)[:-cut]
    shop.store.put(keys.LIVE_REF, data)
    with pytest.raises(CorruptObject, match="is not a live ref"):
        live_ref.read_live(shop.store)
    return data


def test_the_last_index_that_is_whole_is_live_again(shops: tuple[Shop, Shop]) -> None:
    _, second = shops
    before = damage(second)
    live = repair(second.store, by="operator")
    assert (live.live.index, live.live.release) == (second.index, second.release)
    assert live.live.sequence == 3, "above every number that the damaged bytes show"
    assert live_ref.read_live(second.store) == live
    kept = [info.key for info in second.store.list("refs/damaged/")]
    assert [second.store.get(key) for key in kept] == [before]
    with pytest.raises(Exception, match="publishing is held"):
        publication.publish_index(
            second.store, shops[0].index, by="a schedule", cache_dir=second.cache_dir, accept=True
        )


def test_an_index_that_is_not_whole_is_passed_over(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    damage(second)
    second.store.delete(read_manifest(second.store, second.index).files[0].key)
    assert repair(second.store, by="operator").live.index == first.index


def test_a_named_index_must_be_whole(shops: tuple[Shop, Shop]) -> None:
    first, second = shops
    damage(second)
    second.store.delete(read_manifest(second.store, second.index).files[0].key)
    with pytest.raises(ObjectNotFound):
        repair(second.store, second.index, by="operator")
    assert repair(second.store, first.index, by="operator").live.index == first.index


def test_where_nothing_is_named_somebody_must(shops: tuple[Shop, Shop]) -> None:
    second = shops[1]
    second.store.put(keys.LIVE_REF, b"\0" * 900)
    with pytest.raises(SettingsError, match="names no index that is whole; `lookalike inspect`"):
        repair(second.store, by="operator")
    assert repair(second.store, second.index, by="operator").live.sequence == 1


def test_what_can_be_read_is_left_alone(shops: tuple[Shop, Shop], tmp_path: Path) -> None:
    second = shops[1]
    before = second.store.get(keys.LIVE_REF)
    assert repair(second.store, shops[0].index, by="operator").live.index == second.index
    assert second.store.get(keys.LIVE_REF) == before
    newer = before.replace(b'"format": 1', b'"format": 99', 1)
    second.store.put(keys.LIVE_REF, newer)
    with pytest.raises(SettingsError, match=r"nothing to repair: .*format 99.*update"):
        repair(second.store, by="operator")
    assert second.store.get(keys.LIVE_REF) == newer
    with pytest.raises(SettingsError, match="no live ref to repair"):
        repair(DirectoryStore(tmp_path / "empty"), by="operator")
