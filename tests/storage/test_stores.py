"""Stores by the scheme of their URI."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.errors import SettingsError
from lookalike.storage.stores import open_store, split_uri


def test_open_store_tells_uris_apart(tmp_path: Path) -> None:
    assert open_store(tmp_path.as_uri()).uri == tmp_path.as_uri()
    assert open_store(str(tmp_path)).uri == tmp_path.as_uri()
    assert open_store("s3://bucket/a/b/").uri == "s3://bucket/a/b"
    for wrong in ("ftp://x/y", "s3://", "file://host/dir"):
        with pytest.raises(SettingsError):
            open_store(wrong)


def test_split_uri_parts_folder_and_name(tmp_path: Path) -> None:
    assert split_uri("s3://bucket/a/b.csv") == ("s3://bucket/a", "b.csv")
    assert split_uri(str(tmp_path / "with space.csv")) == (tmp_path.as_uri(), "with space.csv")
    with pytest.raises(SettingsError):
        split_uri("s3://bucket")
