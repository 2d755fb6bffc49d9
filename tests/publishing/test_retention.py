"""Retention removes what nothing needs, and nothing else."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from lookalike.catalogue.parts import add_part
from lookalike.catalogue.photo_log import PHOTOS_SCHEMA
from lookalike.errors import LostRace
from lookalike.index.generation import Generation, read_generation
from lookalike.publishing import live_ref
from lookalike.publishing.retention import RetentionConfig, apply, plan
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, FileEntry, Kind, Ref, fetch, latest
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore

LATER = datetime.now(UTC) + timedelta(
    days=2
)  # by then everything written here is older than the grace period


@dataclass(frozen=True)
class Pair:
    curated: Ref
    release: Ref
    extraction: Ref
    index: Ref
    shard: str


def chain(store: ObjectStore, name: str, release: Ref | None = None) -> Pair:
    """One run of the data's way, with files that hold only its name."""
    writer = ArtefactWriter(store, Kind.CURATED, inputs={"catalogue": name}, config={})
    writer.add("listings.parquet", name.encode())
    curated = writer.commit()
    if release is None:
        writer = ArtefactWriter(store, Kind.RELEASE, inputs={"curated": str(curated)}, config={})
        writer.add("model.json", name.encode())
        release = writer.commit()
    shard = keys.code_shard(release.id, name.encode().hex().ljust(64, "0"))
    store.put(shard, b"codes")
    inputs = {"curated": str(curated), "release": str(release)}
    writer = ArtefactWriter(store, Kind.EXTRACTION, inputs=inputs, config={})
    writer.add("shards.json", json.dumps({"shards": [{"key": shard}]}).encode())
    extraction = writer.commit({"release": str(release)})
    inputs = {"curated": str(curated), "extraction": str(extraction)}
    writer = ArtefactWriter(store, Kind.INDEX, inputs=inputs, config={})
    writer.add("segment-000-of-001.arrow", name.encode())
    return Pair(curated, release, extraction, writer.commit({"release": str(release)}), shard)


def publish(store: ObjectStore, pair: Pair) -> None:
    live_ref.publish(store, pair.release, pair.index, by="test", expected=live_ref.read_live(store))


def is_whole(store: ObjectStore, pair: Pair, tmp_path: Path) -> bool:
    for ref in (pair.curated, pair.release, pair.extraction, pair.index):
        fetch(store, ref, tmp_path / "cache")
    return store.get(pair.shard) == b"codes"


def age(store: DirectoryStore, key: str) -> None:
    """Make an object two days older."""
    path = store.local_path(key)
    assert path is not None
    then = path.stat().st_mtime_ns - 2 * 86_400 * 10**9
    os.utime(path, ns=(then, then))


def remaining(store: ObjectStore) -> set[str]:
    return {info.key for info in store.list()}


def test_deltas_of_kept_generations_stay_with_their_base_and_others_go(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    base = chain(store, "base")
    publish(store, base)
    tips: list[Ref] = []
    for name, over in (("one", 0), ("two", 1), ("merged", 0)):
        new = chain(store, name, base.release)
        inputs = Generation(base.index, tuple(tips[:over])).inputs()
        writer = ArtefactWriter(
            store, Kind.DELTA, inputs={**inputs, "curated": str(new.curated)}, config={"name": name}
        )
        writer.add("tombstones.parquet", name.encode())
        tips.append(writer.commit())
        deltas = read_generation(store, tips[-1]).deltas
        live = live_ref.read_live(store)
        live_ref.publish(store, base.release, base.index, by="test", expected=live, deltas=deltas)
    young = chain(store, "newest", base.release)  # else the newest of a kind would stay for that
    apply(store, plan(store, RetentionConfig(records=1, releases=0), now=LATER))
    live = live_ref.read_live(store)
    assert live is not None
    assert live.live.deltas == (tips[2],)
    for ref in (base.index, base.curated, tips[0], tips[1], tips[2], young.index):
        fetch(store, ref, tmp_path / "cache")
    apply(store, plan(store, RetentionConfig(records=0, releases=0), now=LATER))
    fetch(store, base.index, tmp_path / "cache")
    fetch(store, tips[2], tmp_path / "cache")
    assert not any(tip.id in key for tip in tips[:2] for key in remaining(store))


@pytest.mark.parametrize("records", [0, 1, 3])
def test_live_and_roll_back_history_stay_whole_and_the_rest_goes(tmp_path: Path, records: int) -> None:
    store = DirectoryStore(tmp_path / "store")
    pairs = [chain(store, f"day {day}") for day in range(7)]
    for pair in pairs:
        publish(store, pair)
    planned = plan(store, RetentionConfig(records=records, releases=1), now=LATER)
    apply(store, planned)
    kept = pairs[-1 - records :]
    assert all(is_whole(store, pair, tmp_path) for pair in kept)
    gone = pairs[: -1 - records]
    left = remaining(store)
    assert not any(ref.id in key for pair in gone for ref in (pair.index, pair.release) for key in left)
    assert not any(pair.shard in left for pair in gone)
    assert keys.LIVE_REF in left


def test_what_is_live_stays_whole_in_every_kind_of_store(store: ObjectStore, tmp_path: Path) -> None:
    pairs = [chain(store, name) for name in ("old", "before", "live")]
    for pair in pairs:
        publish(store, pair)
    store.put("index/0123456789abcdef/segment.000.arrow", b"abandoned")
    apply(store, plan(store, RetentionConfig(records=1, releases=1), now=LATER))
    assert all(is_whole(store, pair, tmp_path) for pair in pairs[1:])
    assert "index/0123456789abcdef/segment.000.arrow" not in remaining(store)


def test_a_dry_run_removes_nothing_and_names_what_would_go(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    old, new = chain(store, "old"), chain(store, "new")
    publish(store, new)
    chain(store, "newest")
    before = remaining(store)
    planned = plan(store, RetentionConfig(records=0, releases=1), now=LATER)
    assert remaining(store) == before
    assert f"index/{old.index.id}" in planned.removed
    assert set(planned.keys) < before
    assert planned.bytes > 0


def test_nothing_younger_than_the_grace_period_goes(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for name in ("a", "b", "c", "d"):
        chain(store, name)
    publish(store, chain(store, "live"))
    store.put("index/half-written/segment.arrow", b"a build in progress has no manifest yet")
    assert plan(store).keys == ()


def test_an_abandoned_artefact_without_manifest_goes(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    publish(store, chain(store, "live"))
    store.put("index/0123456789abcdef/segment.000.arrow", b"its build was killed")
    store.put("checkpoints/0123456789abcdef/last.safetensors", b"so was this training")
    planned = plan(store, now=LATER)
    assert set(planned.keys) == {
        "index/0123456789abcdef/segment.000.arrow",
        "checkpoints/0123456789abcdef/last.safetensors",
    }


def test_what_a_training_in_progress_learns_from_stays(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    learned, current = chain(store, "when training began"), chain(store, "a re-index since")
    publish(store, current)
    config = {"weights": str(learned.release)}
    training = ArtefactWriter(store, Kind.RELEASE, inputs={"curated": str(learned.curated)}, config=config)
    training.begin()
    for key in remaining(store):
        age(store, key)
    state = keys.checkpoints(training.id) + "state.pt"
    store.put(state, b"written minutes ago")
    apply(store, plan(store, RetentionConfig(records=0, releases=0)))
    fetch(store, learned.curated, tmp_path / "cache")
    fetch(store, learned.release, tmp_path / "cache")
    left = remaining(store)
    assert {state, keys.in_progress(training.id)} <= left
    assert not any(learned.index.id in key for key in left)

    training.add("model.json", b"done")
    training.commit()
    assert keys.in_progress(training.id) not in remaining(store)


def test_a_finished_artefact_that_is_found_is_young_again(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    stopped, current = chain(store, "stopped by the gate"), chain(store, "live")
    publish(store, current)
    for key in remaining(store):
        age(store, key)
    assert stopped.release.id in str(plan(store, RetentionConfig(releases=0)).removed)
    writer = ArtefactWriter(store, Kind.RELEASE, inputs={"curated": str(stopped.curated)}, config={})
    assert writer.existing() == stopped.release == latest(store, Kind.RELEASE)
    apply(store, plan(store, RetentionConfig(releases=0)))
    fetch(store, stopped.release, tmp_path / "cache")
    fetch(store, stopped.curated, tmp_path / "cache")


def test_manifests_go_first_so_that_nothing_half_there_is_visible(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    old = [chain(store, f"old {i}") for i in range(3)]
    publish(store, chain(store, "live"))
    planned = plan(store, RetentionConfig(releases=1), now=LATER)
    manifests = [key.endswith(keys.MANIFEST) for key in planned.keys]
    assert manifests == sorted(manifests, reverse=True)
    assert sum(manifests) == 4 * len(old)


def test_the_newest_two_releases_keep_codes_that_no_extraction_lists(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    pairs = [chain(store, f"release {i}") for i in range(3)]
    for pair in pairs:
        store.put(
            keys.code_shard(pair.release.id, "ff" * 32), b"codes of sold listings, wanted when they return"
        )
    publish(store, pairs[-1])
    apply(store, plan(store, RetentionConfig(records=0, releases=2), now=LATER))
    shards = {info.key.split("/")[1] for info in store.list(keys.CODES)}
    assert shards == {pair.release.id for pair in pairs[1:]}


def test_what_a_kept_manifest_refers_to_stays(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first = chain(store, "first")
    later = [chain(store, f"re-index {i}", first.release) for i in range(4)]
    publish(store, later[-1])
    apply(store, plan(store, RetentionConfig(records=0, releases=0), now=LATER))
    assert is_whole(store, later[-1], tmp_path)
    fetch(store, first.curated, tmp_path / "cache")  # the live release was trained on it
    assert not any(first.index.id in key for key in remaining(store))


def test_where_nothing_is_live_nothing_goes(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    chain(store, "a")
    chain(store, "b")
    assert plan(store, now=LATER).keys == ()


def test_a_plan_is_void_once_the_live_ref_has_moved(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    first, second = chain(store, "first"), chain(store, "second")
    publish(store, second)
    planned = plan(store, RetentionConfig(records=0, releases=1), now=LATER)
    publish(store, first)
    before = remaining(store)
    with pytest.raises(LostRace, match="plan again"):
        apply(store, planned)
    assert remaining(store) == before


def test_a_removal_that_was_killed_is_finished_by_the_next(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    for i in range(3):
        chain(store, f"old {i}")
    live = chain(store, "live")
    publish(store, live)
    planned = plan(store, RetentionConfig(releases=1), now=LATER)
    for key in planned.keys[: len(planned.keys) // 2]:
        store.delete(key)
    apply(store, plan(store, RetentionConfig(releases=1), now=LATER))
    assert is_whole(store, live, tmp_path)
    assert remaining(store).isdisjoint(planned.keys)


def test_the_model_release_before_stays_servable_however_often_its_index_moved_on(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    good = chain(store, "the good model")
    last = chain(store, "its last index", good.release)
    never = [
        chain(store, "stopped by the gate")
    ]  # newer releases, so that the good one is not among the newest two
    bad = chain(store, "the bad model")
    hourly = [chain(store, f"re-index {i}", bad.release) for i in range(6)]
    never.append(chain(store, "stopped by the gate, too"))
    for pair in (good, last, bad, *hourly):
        publish(store, pair)
    unlisted = keys.code_shard(good.release.id, "ff" * 32)
    store.put(unlisted, b"codes of sold listings, wanted when they return")
    apply(store, plan(store, now=LATER))
    assert is_whole(store, last, tmp_path)
    assert store.head(unlisted)
    assert not any(good.index.id in key for key in remaining(store)), "its earlier index is not needed"
    live = live_ref.read_live(store)
    assert live is not None
    [*_, oldest] = live.of_previous_release()
    assert oldest.release == good.release


def test_where_roll_backs_are_not_wanted_the_model_release_before_goes(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    pairs = [chain(store, name) for name in ("before", "live")]
    for pair in pairs:
        publish(store, pair)
    apply(store, plan(store, RetentionConfig(records=0, releases=1), now=LATER))
    assert not any(pairs[0].release.id in key for key in remaining(store) if key.startswith("releases/"))


def test_packs_stay_with_the_snapshots_that_refer_to_them(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    used, unused = keys.pack("a" * 64), keys.pack("b" * 64)
    for key in (used, unused):
        store.put(key, b"photos")
    rows = pa.Table.from_pylist([{"photo_id": "0" * 32, "pack": used}], schema=PHOTOS_SCHEMA)
    log = add_part(store, keys.photo_log("x"), rows)
    publish(store, chain(store, "one"))
    writer = ArtefactWriter(store, Kind.CURATED, inputs={"catalogue": "c"}, config={})
    writer.refer(FileEntry("photos-00000.tar", used, 6, "a" * 64))
    writer.commit()
    assert plan(store, RetentionConfig()).keys == ()  # too young
    planned = plan(store, RetentionConfig(), now=LATER)
    assert planned.keys == (unused,)

    note = keys.curating("somebody")
    store.put(note, b"{}")  # it may be about to refer to any pack
    os.utime(store.root / note, (LATER.timestamp(),) * 2)
    assert unused not in plan(store, RetentionConfig(), now=LATER).keys
    apply(store, planned)
    assert store.head(unused)
    store.delete(note)
    apply(store, planned)
    assert [info.key for info in store.list(keys.PACKS)] == [used]
    assert store.head(log)
