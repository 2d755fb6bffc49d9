"""Which artefact is the newest follows from the order of finishing, whatever the store's times say."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lookalike.publishing import live_ref
from lookalike.publishing.retention import RetentionConfig, apply, plan
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, latest
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore


def finish(store: ObjectStore, name: str, kind: Kind = Kind.INDEX) -> Ref:
    writer = ArtefactWriter(store, kind, inputs={"curated": name}, config={})
    if (found := writer.existing()) is not None:
        return found
    writer.add("content", name.encode())
    return writer.commit()


def date_backwards(store: DirectoryStore, path: Path) -> None:
    """Give what was written later earlier times, as a copy in an unlucky order or a clock that was set back does."""
    for info in list(store.list()):
        then = 3.4e9 - info.modified.timestamp()
        os.utime(path / info.key, (then, then))


def numbers(store: ObjectStore) -> list[str]:
    return sorted(info.key for info in store.list() if keys.sequence_number(info.key) is not None)


def test_the_newest_is_what_was_finished_last_whatever_the_times_say(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    made = [finish(store, name) for name in "abcde"]
    date_backwards(store, tmp_path)
    assert store.head(keys.manifest(Kind.INDEX, made[0].id)).modified > (
        store.head(keys.manifest(Kind.INDEX, made[-1].id)).modified
    )
    assert latest(store, Kind.INDEX) == made[-1]
    assert latest(store, Kind.RELEASE) is None


def test_a_copy_in_any_order_keeps_the_newest(store: ObjectStore, tmp_path: Path) -> None:
    made = [finish(store, name) for name in "abc"]
    copy = DirectoryStore(tmp_path / "copy")
    for info in sorted(
        store.list(), key=lambda info: info.key.startswith(f"index/{made[-1].id}"), reverse=True
    ):
        copy.put(info.key, store.get(info.key))
    assert latest(copy, Kind.INDEX) == latest(store, Kind.INDEX) == made[-1]


def test_what_is_found_finished_is_the_newest_and_has_one_number(store: ObjectStore) -> None:
    first, second = finish(store, "a"), finish(store, "b")
    assert latest(store, Kind.INDEX) == second
    assert finish(store, "a") == first == latest(store, Kind.INDEX)
    before = numbers(store)
    assert len(before) == 2
    assert finish(store, "a") == first
    assert numbers(store) == before


def test_each_kind_counts_for_itself(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    index, release = finish(store, "a"), finish(store, "a", Kind.RELEASE)
    assert numbers(store) == [keys.sequence(ref.kind, ref.id, 1) for ref in (index, release)]


def test_artefacts_of_earlier_versions_are_older_and_in_the_order_of_their_times(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    made = [finish(store, name) for name in "ab"]
    for key in numbers(store):
        store.delete(key)
    for age, ref in zip((10, 20), made, strict=True):
        then = (datetime.now(UTC) - timedelta(seconds=age)).timestamp()
        os.utime(tmp_path / keys.manifest(ref.kind, ref.id), (then, then))
    assert latest(store, Kind.INDEX) == made[0]
    newest = finish(store, "c")
    then = (datetime.now(UTC) - timedelta(days=1)).timestamp()
    os.utime(tmp_path / keys.manifest(newest.kind, newest.id), (then, then))
    assert latest(store, Kind.INDEX) == newest


def test_a_step_that_was_killed_before_its_manifest_is_not_the_newest(tmp_path: Path) -> None:
    made = finish(DirectoryStore(tmp_path), "a")
    with pytest.raises(KeyboardInterrupt):
        finish(_KilledAtManifests(tmp_path), "b")
    assert len(numbers(DirectoryStore(tmp_path))) == 2
    assert latest(DirectoryStore(tmp_path), Kind.INDEX) == made


class _KilledAtManifests(DirectoryStore):
    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        if key.endswith(keys.MANIFEST):
            raise KeyboardInterrupt
        return super().put(key, data, if_absent=if_absent, if_match=if_match)


def test_retention_keeps_the_newest_and_their_numbers_whatever_the_times_say(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    releases = [finish(store, name, Kind.RELEASE) for name in "abcd"]
    indexes = [finish(store, str(release)) for release in releases]
    live_ref.publish(store, releases[0], indexes[0], by="test", expected=None)
    date_backwards(store, tmp_path)
    later = datetime.now(UTC) + timedelta(days=400)
    apply(store, plan(store, RetentionConfig(records=0, releases=2), now=later))
    kept = {info.key.split("/")[1] for info in store.list("releases/")}
    assert kept == {releases[0].id, releases[2].id, releases[3].id}
    assert {key.split("/")[1] for key in numbers(store) if key.startswith("releases/")} == kept
    assert latest(store, Kind.RELEASE) == releases[-1]
