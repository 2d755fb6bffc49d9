"""The photo work of a curation in parts: whoever takes which, the snapshot is that of one process, by its digest."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.photo_site import Site
from lookalike.catalogue.curation import curate
from lookalike.catalogue.exports import Layout
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.plans import Plan
from lookalike.catalogue.sharing import curate_part, plan_curation
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import ObjectNotFound, SettingsError
from lookalike.settings import S3Settings
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from lookalike.storage.s3 import S3Store
from lookalike.storage.stores import open_store
from tests.catalogue.conftest import SMALL, Shop, by_id, photo, photos, plain, reasons
from tests.catalogue.test_curation import near_copy
from tests.catalogue.test_curation_s3 import s3  # noqa: F401  a fixture
from tests.catalogue.test_photo_log import reads
from tests.catalogue.test_web_photos import HERE, site  # noqa: F401  a fixture

CONFIG = replace(SMALL, shard_bytes=12_000)


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_CATALOGUE_RUN_PHOTOS", "5")


@dataclass(frozen=True)
class Place:
    """A store and the disk of a machine; each part is taken by a machine that has nothing yet."""

    shop: Shop
    store: ObjectStore
    disk: Path
    s3: S3Settings | None = None

    @property
    def uri(self) -> str:
        return str(self.shop.folder / "catalogue.csv")

    def curate(self, machine: str = "main") -> Ref:
        return curate(self.store, self.uri, CONFIG, s3=self.s3, cache_dir=self.disk / machine)

    def plan(self) -> Plan:
        found = plan_curation(self.store, self.uri, CONFIG, s3=self.s3, cache_dir=self.disk / "planner")
        assert found is not None
        return found

    def take(self, plan: Plan, part: int, parts: int, machine: str = "") -> int:
        disk = self.disk / (machine or f"{plan.name}-{part}")
        return curate_part(self.store, self.uri, plan.name, part, parts, CONFIG, s3=self.s3, cache_dir=disk)

    def is_killed(self, plan: Plan, part: int, parts: int, write: int) -> bool:
        """Take a part in a process that is killed after its write of that number; whether it came so far."""
        said = json.dumps({} if self.s3 is None else self.s3.model_dump())
        given = [self.store.uri, said, self.uri, str(self.disk / "killed"), plan.name]
        given += map(str, (part, parts, write))
        done = subprocess.run([sys.executable, "-m", "tests.catalogue.dying_part", *given], timeout=120)
        assert done.returncode in (0, -signal.SIGKILL)
        return done.returncode != 0

    def packs(self) -> list[str]:
        return [info.key for info in self.store.list(keys.PACKS)]

    def open(self, ref: Ref) -> CuratedSnapshot:
        return CuratedSnapshot.open(self.store, ref, self.disk / "reader")


@pytest.fixture
def places(shop: Shop, store: ObjectStore, tmp_path: Path) -> Iterator[Place]:
    """As many empty stores of one kind as are asked for."""

    def more() -> Iterator[Place]:
        for number in range(100):
            disk = tmp_path / f"disk{number}"
            if isinstance(store, S3Store):
                s3 = store.settings
                yield Place(shop, open_store(f"{store.uri}/{number}", s3), disk, s3)
            else:
                yield Place(shop, DirectoryStore(tmp_path / f"store{number}"), disk)

    return more()


def many(shop: Shop, count: int = 28) -> None:
    """Photos of which some are there twice, far from one another, one is a near copy, one broken, and one missing."""
    found = photos(count)
    found["L013.jpg"] = found["L021.jpg"] = found["L001.jpg"]
    found["L022.jpg"] = near_copy(photo(2), random.Random(0))
    found["L017.jpg"] = found["L017.jpg"][:1500]
    del found["L009.jpg"]
    shop.write(plain(count), found)


def test_the_snapshot_is_that_of_one_process(shop: Shop, places: Iterator[Place]) -> None:
    many(shop)
    alone, shared, killed = next(places), next(places), next(places)
    expected = alone.curate()
    assert list(alone.store.list(keys.CHECKPOINTS)) == []

    plan = shared.plan()
    assert plan.runs == 6
    with reads() as read:
        taken = [shared.take(plan, part, 4) for part in (2, 0, 3, 1)]
    assert (sum(taken), len(read)) == (28, 28)
    with reads() as read:
        assert shared.curate() == expected
    assert read == ["L009.jpg"], "what was refused is looked for once more"
    assert shared.packs() == alone.packs()
    assert list(shared.store.list(keys.CHECKPOINTS)) == []

    plan = killed.plan()
    assert killed.take(plan, 0, 4) == 5
    assert killed.is_killed(plan, 1, 4, 7)
    before = len(killed.packs())
    with reads() as read:
        again = killed.take(plan, 1, 4)
    assert again < 10
    assert (again, before) == (len(read), before)
    assert [killed.take(plan, part, 4) for part in (2, 3, 1)] == [5, 8, 0]
    assert killed.curate() == expected
    assert killed.packs() == alone.packs()

    for name in ("L003.jpg", "L019.jpg"):
        shop.put(name, photo(300 + int(name[1:4])))
    rows = plain(35)
    shop.write(rows[:5] + rows[6:], {f"L{i:03d}.jpg": photo(i) for i in range(28, 35)})
    expected = alone.curate()
    plan = shared.plan()
    assert [shared.take(plan, part, 2) for part in range(2)] == [5, 5]
    assert shared.curate() == expected
    assert killed.curate() == expected, "without a plan"
    snapshot = shared.open(expected)
    assert reasons(snapshot) == {"L009": "missing", "L017": "truncated"}
    for i in (1, 3, 13, 19, 34):
        number = {3: 303, 19: 319, 13: 1}.get(i, i)
        assert snapshot.photo_bytes(by_id(snapshot)[f"L{i:03d}"]["photo_id"]) == photo(number)


def test_killed_at_any_write_a_part_ends_with_the_same_packs(shop: Shop, tmp_path: Path) -> None:
    many(shop)
    alone = Place(shop, DirectoryStore(tmp_path / "alone"), tmp_path / "disk-alone")
    expected = alone.curate()
    for write in range(1, 60, 7):
        place = Place(shop, DirectoryStore(tmp_path / f"store{write}"), tmp_path / f"disk{write}")
        plan = place.plan()
        if not place.is_killed(plan, 1, 2, write):
            break
        assert place.take(plan, 0, 2) == 15
        place.take(plan, 1, 2)
        assert place.curate() == expected
        assert place.packs() == alone.packs()
    assert 15 <= write < 50


@pytest.fixture
def place(shop: Shop, tmp_path: Path) -> Place:
    return Place(shop, DirectoryStore(tmp_path / "shared"), tmp_path / "disk")


def test_a_photo_that_moves_between_plan_and_part_is_left_out_and_named(shop: Shop, place: Place) -> None:
    shop.write(plain(24), photos(24))
    plan = place.plan()
    (shop.folder / "L011.jpg").unlink()
    shop.put("L012.jpg", photo(77))
    assert [place.take(plan, part, 2) for part in range(2)] == [10, 14]
    snapshot = place.open(place.curate())
    assert reasons(snapshot) == {"L011": "missing"}
    details = {row["listing_id"]: row["detail"] for row in snapshot.report["rows"]["left_out"]}
    assert details == {"L011": "there is no photo L011.jpg"}
    assert snapshot.photo_bytes(by_id(snapshot)["L012"]["photo_id"]) == photo(77)


def test_what_changes_after_its_part_is_read_again(shop: Shop, place: Place) -> None:
    shop.write(plain(24), photos(24) | {"L010.jpg": b""})
    plan = place.plan()
    for part in range(3):
        place.take(plan, part, 3)
    shop.put("L011.jpg", photo(77))
    shop.put("L010.jpg", photo(78))
    with reads() as read:
        snapshot = place.open(place.curate())
    assert sorted(read) == ["L010.jpg", "L011.jpg"]
    assert snapshot.photo_bytes(by_id(snapshot)["L011"]["photo_id"]) == photo(77)
    assert snapshot.photo_bytes(by_id(snapshot)["L010"]["photo_id"]) == photo(78)


def test_few_photos_need_no_plan(shop: Shop, place: Place) -> None:
    shop.write(plain(5), photos(5))
    assert plan_curation(place.store, place.uri, CONFIG, cache_dir=place.disk) is None
    assert list(place.store.list()) == []
    place.curate()
    assert plan_curation(place.store, place.uri, CONFIG, cache_dir=place.disk) is None


def test_a_part_that_comes_too_late_is_told_so(shop: Shop, place: Place) -> None:
    shop.write(plain(12), photos(12))
    plan = place.plan()
    assert place.plan() == plan, "of one catalogue there is one plan"
    with pytest.raises(SettingsError, match="part 2 of 2: parts are numbered from 0"):
        place.take(plan, 2, 2)
    other = replace(CONFIG, shrunk_side=64)
    with pytest.raises(SettingsError, match="stored in another way"):
        curate_part(place.store, place.uri, plan.name, 0, 2, other, cache_dir=place.disk)
    place.curate()
    with pytest.raises(ObjectNotFound, match="is gone: its curation has ended"):
        place.take(plan, 0, 2)


def test_a_plan_that_nobody_was_at_work_on_for_a_day_is_made_anew(shop: Shop, place: Place) -> None:
    shop.write(plain(12), photos(12))
    plan = place.plan()
    place.take(plan, 0, 2)
    folder = place.store.local_path(keys.planned(plan.name, "plan.parquet"))
    assert folder is not None
    for path in folder.parent.iterdir():
        os.utime(path, (time.time() - 90_000,) * 2)
    anew = place.plan()
    assert (anew.name, len(anew.images)) == (plan.name, 7), "what was read is seen"
    assert sum(place.take(anew, part, 2) for part in range(2)) == 7
    with reads() as read:
        place.curate()
    assert read == []
    assert list(place.store.list(keys.CHECKPOINTS)) == [], "the plan goes though nothing was left to read"


def test_what_a_bucket_calls_the_same_is_stored_once(shop: Shop, s3: S3Settings, tmp_path: Path) -> None:  # noqa: F811
    shop.write(plain(16), photos(16) | {"L015.jpg": photo(1)})
    bucket = open_store("s3://shop/twins", s3)
    for path in shop.folder.iterdir():
        bucket.put(path.name, path.read_bytes())
    uri, store = "s3://shop/twins/catalogue.csv", DirectoryStore(tmp_path / "store")
    plan = plan_curation(store, uri, CONFIG, s3=s3, cache_dir=tmp_path)
    assert plan is not None
    assert plan.images.to_pylist()[:4] == ["L000.jpg", "L001.jpg", "L015.jpg", "L002.jpg"]
    assert plan.sizes.to_pylist()[1:3] == [len(photo(1))] * 2
    for part in range(2):
        curate_part(store, uri, plan.name, part, 2, CONFIG, s3=s3, cache_dir=tmp_path / str(part))
    log = PhotoLog.open(store, tmp_path / "log", CONFIG)
    assert log.photos.num_rows == sum(
        pq.read_metadata(store.root / info.key).num_rows for info in store.list(keys.photo_log(log.way))
    )


def test_photos_of_the_web_without_a_validator_are_fetched_once(
    shop: Shop,
    place: Place,
    site: Site,  # noqa: F811
) -> None:
    site.photos = {f"/{i}.jpg": photo(i) for i in range(12)}
    site.headers = {path: {"ETag": ""} for path in site.photos}
    rows = [row | {"image": f"{site.uri}/{i}.jpg"} for i, row in enumerate(plain(12))]
    shop.write(rows, {})
    layout = Layout(web=HERE)
    plan = plan_curation(place.store, place.uri, CONFIG, layout=layout, cache_dir=place.disk)
    assert plan is not None
    for part in range(2):
        curate_part(place.store, place.uri, plan.name, part, 2, CONFIG, layout=layout, cache_dir=place.disk)
    ref = curate(place.store, place.uri, CONFIG, layout=layout, cache_dir=place.disk)
    assert len(place.open(ref).listings) == 12
    assert set(site.asked.values()) == {1}
    assert sum(site.asked.values()) == 12
