"""Bytes of old versions are counted where a bucket has versions, and are not made up where it has none."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lookalike.errors import AccessDenied
from lookalike.storage.objects import ObjectStore
from lookalike.storage.s3 import S3Store
from lookalike.storage.versions import OldVersions, old_versions


def test_a_store_without_versions_has_none(store: ObjectStore) -> None:
    store.put("index/a", b"first")
    store.put("index/a", b"second")
    store.delete("index/a")
    assert old_versions(store) == (None, "")


def test_replaced_and_removed_objects_are_counted_of_this_store_alone(store: ObjectStore) -> None:
    if not isinstance(store, S3Store):
        pytest.skip("a directory keeps no versions")
    enable = {"Status": "Enabled"}
    store._reader.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration=enable)
    S3Store(store.bucket, "some/prefix-of-another", store.settings).put("index/a", bytes(1000))
    assert old_versions(store) == (None, "")
    store.put("refs/live.json", bytes(10))
    assert old_versions(store) == (OldVersions(0, 0), "")
    store.put("refs/live.json", bytes(20))
    store.put("index/a", bytes(300))
    assert old_versions(store) == (OldVersions(1, 10), "")
    store.delete("index/a")
    assert [info.size for info in store.list()] == [20]
    assert old_versions(store) == (OldVersions(2, 310), "")


def test_retain_says_what_the_bucket_keeps(store: ObjectStore) -> None:
    if not isinstance(store, S3Store):
        pytest.skip("a directory keeps no versions")
    enable = {"Status": "Enabled"}
    store._reader.put_bucket_versioning(Bucket=store.bucket, VersioningConfiguration=enable)
    for size in (1_000_000, 2_000_000):
        store.put("traffic/a", bytes(size))
    environ = os.environ | {
        "LOOKALIKE_STORE": store.uri,
        "LOOKALIKE_S3_ENDPOINT_URL": str(store.settings.endpoint_url),
    }

    def retain(*options: str) -> str:
        command = [sys.executable, "-m", "lookalike", "retain", "--dry-run", *options]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True, timeout=120)
        return " ".join((done.stdout + done.stderr).split())

    assert '"old_versions": { "count": 1, "bytes": 1000000 }' in retain("--json")
    assert "as old versions, 1.0 MB in 1 of them now" in retain()


def test_who_may_not_list_them_is_told_so(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: S3Store) -> None:
        raise AccessDenied("", "access denied")

    monkeypatch.setattr(S3Store, "old_versions", denied)
    found, why = old_versions(store)
    assert found is None
    assert ("s3:ListBucketVersions" in why) == isinstance(store, S3Store)
