"""A shop whose index has three shards, published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lookalike.coding.extraction import extract
from lookalike.index.builder import build
from lookalike.storage.directory import DirectoryStore
from tests.shop import Shop, go_live, make_listings, open_shop, write_curated

__all__ = ["SHARDS", "go_live", "in_shards"]

SHARDS = 3


def in_shards(shop: Shop, *, per_category: int = 0, prefix: str = "") -> Shop:
    """The shop, or one with other listings and the same model release, with its index in three shards."""
    listings, curated = shop.listings, shop.curated
    if per_category:
        listings = make_listings(per_category, prefix=prefix)
        curated = write_curated(shop.store, listings, shop.cache_dir)
    extraction = extract(shop.store, curated, shop.release, cache_dir=shop.cache_dir, threads=1)
    index = build(shop.store, curated, extraction, shards=SHARDS, cache_dir=shop.cache_dir)
    return replace(shop, listings=listings, curated=curated, index=index)


@pytest.fixture
def town(tmp_path: Path) -> Shop:
    """A small shop of its own, live."""
    shop = in_shards(open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=8))
    go_live(shop)
    return shop


@pytest.fixture(scope="package")
def city(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A larger one that tests only ask, live."""
    root = tmp_path_factory.mktemp("city")
    shop = in_shards(open_shop(DirectoryStore(root / "store"), root / "cache", per_category=60))
    go_live(shop)
    return shop
