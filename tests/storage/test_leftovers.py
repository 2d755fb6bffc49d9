"""What killed processes leave is removed when it is old, and never before."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lookalike.storage import leftovers
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from lookalike.storage.s3 import S3Store

HOUR = timedelta(hours=1)


def begin(store: ObjectStore) -> datetime:
    """Begin to write an object, and die; when that was by the store's own account (moto always says 2010)."""
    if isinstance(store, S3Store):
        key = f"{store.prefix}/index/unfinished"
        upload = store._reader.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"]
        store._reader.upload_part(
            Bucket=store.bucket, Key=key, UploadId=upload, PartNumber=1, Body=bytes(5 << 20)
        )
        listed = store._reader.list_multipart_uploads(Bucket=store.bucket)["Uploads"]
        began: datetime = listed[0]["Initiated"]
        return began
    if isinstance(store, DirectoryStore):
        (store.root / ".lookalike").mkdir(parents=True, exist_ok=True)
        (store.root / ".lookalike" / "tmpkilled").write_bytes(b"half")
    return datetime.now(UTC)


def test_unfinished_writes_go_when_they_are_old_and_objects_stay(store: ObjectStore, tmp_path: Path) -> None:
    store.put("index/whole", b"whole")
    now = begin(store)
    assert leftovers.remove(store, tmp_path / "no-cache", now - HOUR) == 0
    assert leftovers.remove(store, tmp_path / "no-cache", now + HOUR) == 1
    assert leftovers.remove(store, tmp_path / "no-cache", now + HOUR) == 0
    assert [info.key for info in store.list()] == ["index/whole"]


def test_folders_of_steps_go_when_nothing_in_them_is_young(tmp_path: Path) -> None:
    store, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    for name in ("curate-dead", "curate-alive", "index"):
        (cache / name / "below").mkdir(parents=True)
        (cache / name / "below" / "file").write_bytes(b"x")
    long_ago = time.time() - 7200
    for path in (cache / "curate-alive", cache / "index", *cache.glob("*-dead/**/*"), cache / "curate-dead"):
        os.utime(path, (long_ago, long_ago))
    assert leftovers.remove(store, cache, datetime.now(UTC) - HOUR) == 1
    assert sorted(path.name for path in cache.iterdir()) == ["curate-alive", "index"]
