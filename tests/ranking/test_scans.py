"""Questions that differ only in how candidates are scored afterwards cost one scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lookalike.ranking import local
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import Wanted
from lookalike.ranking.local import map_listings
from lookalike.storage.artefacts import fetch
from tests.shop import BITS, CATEGORIES, Shop


def test_weights_share_a_scan_and_nothing_else_does(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    listings = map_listings(fetch(shop.store, shop.index, shop.cache_dir), threads=1)
    scanned: list[int] = []
    real = local.scan

    def counted(scanner: Any, jobs: Sequence[Any]) -> Any:
        scanned.append(len(jobs))
        return real(scanner, jobs)

    monkeypatch.setattr(local, "scan", counted)
    rng = np.random.default_rng(0)
    code = rng.integers(0, 256, BITS // 8, np.uint8)
    first = Wanted(code, CATEGORIES[:2], Filters(), 20, rng.random(BITS, np.float32))
    other = replace(first, weights=rng.random(BITS, np.float32))
    further = [replace(first, k=5), replace(first, categories=CATEGORIES), replace(first, code=~code)]
    together = listings.nearest([first, other, *further])
    assert scanned == [4]
    alone = [listings.nearest([each])[0] for each in (first, other, *further)]
    for found, expected in zip(together, alone, strict=True):
        assert found.listing_ids() == expected.listing_ids()
        np.testing.assert_array_equal(found.expected_distances(), expected.expected_distances())
    assert not np.array_equal(together[0].expected_distances(), together[1].expected_distances())
