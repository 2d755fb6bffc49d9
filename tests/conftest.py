"""Fixtures that several rooms share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.shop import Shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A small shop with its release and index, unpublished; made in about a second. Do not write to its store."""
    from lookalike.storage.directory import DirectoryStore
    from tests.shop import open_shop

    root = tmp_path_factory.mktemp("shop")
    return open_shop(DirectoryStore(root / "store"), root / "cache")
