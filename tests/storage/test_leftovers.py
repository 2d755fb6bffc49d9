"""What killed processes leave is removed when it is old, and never before."""

from __future__ import annotations

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lookalike.serving.copies import Copies
from lookalike.storage import leftovers
from lookalike.storage.artefacts import ArtefactWriter, FileEntry, Kind, fetch_file
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


def test_copies_go_when_they_were_not_used_for_long(tmp_path: Path) -> None:
    """What a step fetches again is in use, whenever it was fetched; anybody else's files are nobody's to remove."""
    kept, cache, month = DirectoryStore(tmp_path / "store"), tmp_path / "cache", timedelta(days=30)
    elsewhere = Elsewhere(kept.root)
    entries = []
    for name in ("old", "used"):
        data = name.encode()
        kept.put(f"index/1/{name}", data)
        entries.append(FileEntry(name, f"index/1/{name}", len(data), hashlib.sha256(data).hexdigest()))
        fetch_file(elsewhere, entries[-1], cache)
    (cache / "mine.txt").write_bytes(b"whose?")
    long_ago = time.time() - 60 * 86400
    for path in (*cache.glob("index/1/*"), cache / "mine.txt"):
        os.utime(path, (long_ago, long_ago))
    fetch_file(elsewhere, entries[1], cache)
    assert leftovers.remove_unused(cache, datetime.now(UTC) - month) == len("old")
    assert [path.name for path in cache.rglob("*") if path.is_file()] == ["mine.txt", "used"]
    assert fetch_file(elsewhere, entries[0], cache).read_bytes() == b"old"


def test_a_server_that_runs_for_months_fetches_again_what_retention_took_from_its_cache(
    tmp_path: Path,
) -> None:
    kept, cache = DirectoryStore(tmp_path / "store"), tmp_path / "cache"
    writer = ArtefactWriter(kept, Kind.INDEX, inputs={}, config={})
    writer.add("segment", b"segment")
    ref, copies = writer.commit(), Copies(Elsewhere(kept.root), cache)
    for path in copies.fetch(ref).paths.values():
        os.utime(path, (0, 0))
    assert leftovers.remove_unused(cache, datetime.now(UTC)) == len("segment")
    assert copies.fetch(ref).path("segment").read_bytes() == b"segment"
    for path in copies.fetch(ref).paths.values():
        os.utime(path, (0, 0))
    copies.fetch(ref)
    assert leftovers.remove_unused(cache, datetime.now(UTC) - timedelta(days=1)) == 0


def test_a_folder_that_is_a_store_loses_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put("index/1/file", b"x")
    os.utime(tmp_path / "index" / "1" / "file", (0, 0))
    assert leftovers.remove_unused(tmp_path, datetime.now(UTC)) == 0
    assert store.get("index/1/file") == b"x"


class Elsewhere(DirectoryStore):
    """A store whose files lie on another machine."""

    def local_path(self, key: str) -> Path | None:
        return None
