"""Fixtures that several rooms share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.postgres import postgres  # noqa: F401  a fixture
from tests.stores import moto_endpoint, radosgw, store  # noqa: F401  fixtures

if TYPE_CHECKING:
    from tests.shop import Shop


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A small shop with its release and index, unpublished; made in about a second. Do not write to its store."""
    from lookalike.storage.directory import DirectoryStore
    from tests.shop import open_shop

    root = tmp_path_factory.mktemp("shop")
    return open_shop(DirectoryStore(root / "store"), root / "cache")


@pytest.fixture(scope="session")
def sample_data() -> Path:
    """The folder of real catalogues that LOOKALIKE_TEST_DATA names."""
    return _named_folder("LOOKALIKE_TEST_DATA")


@pytest.fixture(scope="session")
def sample_cases() -> Path:
    """The folder of difficult exports and photos that LOOKALIKE_TEST_CASES names."""
    return _named_folder("LOOKALIKE_TEST_CASES")


def _named_folder(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} is not set: CONTRIBUTING.md says what lies in its folder")
    folder = Path(named)
    assert folder.is_dir(), f"{variable} names {named}, which is no folder: correct it or unset it"
    return folder
