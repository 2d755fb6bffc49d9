"""One running search process for the tests that only ask it questions."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from lookalike.serving.config import ServingConfig
from tests.serving.running import Running, running
from tests.shop import Shop


@pytest.fixture(scope="package")
def process(shop: Shop) -> Iterator[Running]:
    """Serves the shop's index, pinned."""
    with running(shop.store, shop.cache_dir, ServingConfig(index=shop.index, notice_seconds=0)) as process:
        yield process


@pytest.fixture
def client(process: Running) -> httpx.Client:
    return process.client
