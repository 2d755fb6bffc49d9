"""The photo log: what is known of a photo is never read, decoded or stored again."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lookalike.catalogue import lots, photo_log
from lookalike.catalogue.curation import curate
from lookalike.catalogue.packs import require_packs
from lookalike.catalogue.parts import add_part
from lookalike.catalogue.photo_log import PhotoLog, packs_of
from lookalike.catalogue.prints import Prints, add_prints, merge_sketches
from lookalike.catalogue.snapshot import CuratedSnapshot, first_photo, open_photos
from lookalike.errors import CorruptObject, ObjectNotFound
from lookalike.settings import S3Settings
from lookalike.storage import keys, tiers
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.stores import open_store
from tests.catalogue.conftest import SMALL, Shop, by_id, photo, photos, plain, reasons
from tests.catalogue.test_curation import near_copy
from tests.catalogue.test_curation_s3 import deny, s3  # noqa: F401  a fixture

_opened: list[str] = []
_hooked = False


@contextmanager
def reads() -> Iterator[list[str]]:
    """The names of photos that are opened meanwhile."""
    global _hooked
    if not _hooked:  # a hook stays for as long as the process
        sys.addaudithook(lambda event, args: _opened.append(str(args[0])) if event == "open" else None)
        _hooked = True
    found: list[str] = []
    _opened.clear()
    yield found
    found += [name for name in _opened if name.endswith(".jpg")]


def packs(shop: Shop) -> list[str]:
    return [info.key for info in shop.store.list(keys.PACKS)]


def test_what_did_not_change_is_not_read(shop: Shop) -> None:
    rows = plain(30, price="1")
    shop.write(rows, photos(30))
    with reads() as read:
        first = shop.curate()
    assert sorted(read) == sorted(photos(30))
    with reads() as read:
        assert shop.curate().ref == first.ref
    assert read == []

    before = packs(shop)
    rows[3]["price"] = "2"
    shop.write(rows, {})
    with reads() as read:
        priced = shop.curate()
    assert (read, packs(shop)) == ([], before)
    assert (by_id(priced)["L003"]["price"], priced.photos) == (2.0, first.photos)

    more = [*rows, *({"listing_id": f"N{i}", "category": "a/x", "price": "1"} for i in range(10))]
    shop.write(more, {f"N{i}.jpg": photo(100 + i) for i in range(10)})
    with reads() as read:
        grown = shop.curate()
    assert len(read) == 10
    new = set(packs(shop)) - set(before)
    assert len(new) == 1
    assert shop.store.head(new.pop()).size < 70_000
    for i in range(10):
        assert grown.photo_bytes(by_id(grown)[f"N{i}"]["photo_id"]) == photo(100 + i)
    assert grown.photo_bytes(by_id(grown)["L003"]["photo_id"]) == photo(3)


def test_a_photo_that_changes_is_read_and_one_that_goes_is_missed(shop: Shop) -> None:
    shop.write(plain(8), photos(8))
    shop.curate()
    (shop.folder / "L002.jpg").unlink()
    shop.put("L005.jpg", photo(77))
    shop.put("L006.jpg", photo(1))  # known by another name
    with reads() as read:
        snapshot = shop.curate()
    assert sorted(read) == ["L002.jpg", "L005.jpg", "L006.jpg"]
    assert reasons(snapshot) == {"L002": "missing"}
    assert snapshot.photo_bytes(by_id(snapshot)["L005"]["photo_id"]) == photo(77)
    assert by_id(snapshot)["L006"]["photo_id"] == by_id(snapshot)["L001"]["photo_id"]


def test_broken_photos_are_remembered_too(shop: Shop) -> None:
    rows = [*plain(6), *({"listing_id": name, "category": "a/x"} for name in ("cut", "large", "gone"))]
    shop.write(
        rows,
        photos(6)
        | {
            "L000.jpg": photo(0, 90, 80),
            "cut.jpg": photo(50)[:1500],
            "large.jpg": photo(51) + b"\0" * 90_000,
        },
    )
    config = replace(SMALL, limits=replace(SMALL.limits, max_bytes=60_000))
    first = shop.curate(config)
    with reads() as read:
        assert shop.curate(config).ref == first.ref
        stricter = shop.curate(replace(config, min_side=85))  # judged by what the log says
    assert set(read) == {"gone.jpg"}
    assert reasons(first) == {"cut": "truncated", "large": "too large", "gone": "missing"}
    assert reasons(stricter) == reasons(first) | {"L000": "tiny"}


def test_another_way_of_storing_reads_anew(shop: Shop) -> None:
    shop.write(plain(6), photos(6) | {"L001.jpg": photo(1, 900, 600)})
    shop.curate()
    with reads() as read:
        smaller = shop.curate(replace(SMALL, shrunk_side=128))
    assert len(read) == 6
    assert len(smaller.photo_bytes(by_id(smaller)["L001"]["photo_id"])) < len(photo(1, 900, 600)) / 2


def test_unchanged_photos_in_s3_are_listed_not_read(shop: Shop, s3: S3Settings) -> None:  # noqa: F811
    shop.write(plain(8), photos(8))
    bucket = open_store("s3://shop/listed", s3)
    for path in shop.folder.iterdir():
        bucket.put(path.name, path.read_bytes())
    uri = "s3://shop/listed/catalogue.csv"
    first = curate(shop.store, uri, SMALL, s3=s3, cache_dir=shop.cache)
    deny(s3, "listed/*.jpg")
    assert curate(shop.store, uri, SMALL, s3=s3, cache_dir=shop.cache) == first
    bucket.put("L003.jpg", photo(99))
    snapshot = CuratedSnapshot.open(
        shop.store, curate(shop.store, uri, SMALL, s3=s3, cache_dir=shop.cache), shop.cache
    )
    assert reasons(snapshot) == {"L003": "access denied"}


def test_the_log_stays_in_few_parts(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_MOST", 3)
    for count in range(4, 12):
        shop.write(plain(count), photos(count))
        snapshot = shop.curate()
    way = photo_log.way_of(SMALL)
    tables = [keys.photo_log(way), keys.seen_photos(way), keys.sketches(way)]
    for prefix in (*tables, *(keys.copies(way, 1) + name for name in ("pairs/", "stretches/"))):
        assert len(list(shop.store.list(prefix))) <= 4
    with reads() as read:
        assert shop.curate().ref == snapshot.ref
    assert read == []


def test_small_packs_are_merged_and_old_snapshots_keep_theirs(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lots, "MOST_SMALL", 3)
    snapshots = []
    for count in range(4, 10):
        shop.write(plain(count), photos(count))
        with reads() as read:
            snapshots.append(shop.curate())
        assert len(read) == (4 if count == 4 else 1)
        used = [entry for entry in snapshots[-1].artefact.manifest.files if entry.name.endswith(".tar")]
        assert len(used) <= 3
    assert len(packs(shop)) > 6
    for count, snapshot in zip(range(4, 10), snapshots, strict=True):
        again = CuratedSnapshot.open(shop.store, snapshot.ref, shop.cache)
        for i in range(count):
            assert again.photo_bytes(by_id(again)[f"L{i:03d}"]["photo_id"]) == photo(i)


def test_a_damaged_part_of_the_log_is_named(shop: Shop) -> None:
    shop.write(plain(6), photos(6))
    shop.curate()
    part = next(iter(shop.store.list(keys.photo_log(photo_log.way_of(SMALL)))))
    path = shop.store.local_path(part.key)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(CorruptObject, match=r"photos/.*/log/.*does not match its digest"):
        shop.curate()


def test_photos_of_a_pack_that_is_gone_are_read_again(shop: Shop) -> None:
    shop.write(plain(8), photos(8))
    first = shop.curate()
    log = PhotoLog.open(shop.store, shop.cache, SMALL)
    held = packs_of(log.photos)
    require_packs(shop.store, held)
    shop.store.delete(held[0].key)
    with pytest.raises(ObjectNotFound, match="was removed meanwhile; run it again"):
        require_packs(shop.store, held)
    assert PhotoLog.open(shop.store, shop.cache, SMALL).photos.num_rows == 0
    shop.store.delete(keys.manifest(first.ref.kind, first.ref.id))
    with reads() as read:
        again = shop.curate()
    assert len(read) == 8
    assert again.ref == first.ref
    assert again.photo_bytes(by_id(again)["L001"]["photo_id"]) == photo(1)


def test_readers_fetch_the_packs_they_need(shop: Shop, s3: S3Settings, tmp_path: Path) -> None:  # noqa: F811
    shop.write(plain(8), photos(8))
    store = open_store("s3://shop/store", s3)
    ref = curate(
        store, str(shop.folder / "catalogue.csv"), replace(SMALL, shard_bytes=1), cache_dir=tmp_path / "made"
    )
    shown = open_photos(store, ref, tmp_path / "shown")
    snapshot = CuratedSnapshot.open(store, ref, tmp_path / "read")
    photo_id = by_id(snapshot)["L004"]["photo_id"]
    assert shown.peek(photo_id) == snapshot.photo_bytes(photo_id) == photo(4)
    place = snapshot.photo_store.place(photo_id)
    assert place.path.read_bytes()[place.offset :][: place.length] == photo(4)
    assert first_photo(store, ref, tmp_path / "shown") in {photo(i) for i in range(8)}
    assert list((tmp_path / "shown").rglob("*.tar")) == []
    assert len(list((tmp_path / "read").rglob("*.tar"))) == 1


def test_killed_at_any_write_it_ends_with_the_same_snapshot(shop: Shop, tmp_path: Path) -> None:
    uri = shop.write(plain(6), photos(6) | {"L005.jpg": near_copy(photo(2), random.Random(0))})
    (tmp_path / "killed").mkdir()
    run = subprocess.run(
        [sys.executable, "-m", "tests.catalogue.dying", uri, str(tmp_path / "killed")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONWARNINGS": "default"},
        check=True,
        timeout=240,
    )
    told = json.loads(run.stdout)
    undisturbed, read = json.loads(told["undisturbed"])
    assert read == 6
    killed = [json.loads(text) for text in told["killed"]]
    assert len(killed) > 12
    assert {ref for ref, _ in killed} == {undisturbed}
    counts = [read for _, read in killed]
    assert counts == sorted(counts, reverse=True)  # what was taken in is not read again
    assert (counts[0], counts[-1]) == (6, 0)


def test_prints_of_a_log_of_0_2_0_move_into_sheets(shop: Shop, tmp_path: Path) -> None:
    shop.write(plain(8), photos(8) | {"L005.jpg": near_copy(photo(2), random.Random(0))})
    first = shop.curate()
    way = photo_log.way_of(SMALL)
    photo_ids = pa.array(first.photos["photo_id"].to_pylist(), pa.string())
    prints = PhotoLog.open(shop.store, shop.cache, SMALL).prints.read(photo_ids)
    (part,) = shop.store.list(keys.photo_log(way))
    rows = pq.read_table(pa.BufferReader(shop.store.get(part.key)))
    order = pc.index_in(rows["photo_id"], photo_ids).to_pylist()
    old = rows.append_column("prints", pa.array([prints[at].tobytes() for at in order], pa.binary(6144)))
    for info in list(shop.store.list(keys.PHOTOS)):
        if not info.key.startswith((keys.PACKS, keys.seen_photos(way))):
            shop.store.delete(info.key)
    shop.store.delete(keys.manifest(first.ref.kind, first.ref.id))
    add_part(shop.store, keys.photo_log(way), old)
    with reads() as read:
        again = shop.curate()
    assert read == []
    assert again.ref == first.ref
    assert again.report["duplicates"]["near_pairs"] == 1
    moved = PhotoLog.open(shop.store, tmp_path, SMALL)
    assert (moved.prints.read(photo_ids) == prints).all()
    (part,) = shop.store.list(keys.photo_log(way))
    assert part.size < 5_000


def test_two_curations_side_by_side(shop: Shop, tmp_path: Path) -> None:
    few = shop.write(plain(20), photos(30))
    (tmp_path / "few").mkdir()
    Path(few).rename(shop.folder / "few.csv")
    many = shop.write(plain(30), {})
    program = (
        "import sys; from pathlib import Path; from lookalike.catalogue.curation import curate;"
        "from lookalike.storage.directory import DirectoryStore; from tests.catalogue.conftest import SMALL;"
        "print(curate(DirectoryStore(Path(sys.argv[1])), sys.argv[2], SMALL, cache_dir=Path(sys.argv[3])))"
    )
    uris = (many, many, str(shop.folder / "few.csv"))
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(shop.store.root), uri, str(tmp_path / f"cache{i}")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i, uri in enumerate(uris)
    ]
    told = [process.communicate(timeout=120)[0].strip() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0]
    assert told[0] == told[1] != told[2]
    with reads() as read:
        snapshot = shop.curate()
    assert (str(snapshot.ref), read) == (told[0], [])
    for i in range(30):
        assert snapshot.photo_bytes(by_id(snapshot)[f"L{i:03d}"]["photo_id"]) == photo(i)


def test_parts_that_tell_of_one_photo_are_merged_without_a_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two curations leave them that ran side by side."""
    monkeypatch.setattr(tiers, "_MOST", 2)
    store, prints = DirectoryStore(tmp_path), np.arange(5 * 6144, dtype=np.uint8).reshape(5, 2, 32, 32, 3)
    ids = [f"{number:032x}" for number in range(5)]
    for lot in ([0, 1, 2], [1, 2, 3, 4]):
        add_prints(store, "way", [ids[at] for at in lot], prints[lot])
    merge_sketches(store, tmp_path / "cache", "way")
    assert len(list(store.list(keys.sketches("way")))) == 1
    sheets = sorted(store.list(keys.SHEETS), key=lambda info: info.size)
    for info in sheets[:-1]:
        store.delete(info.key)
    kept = Prints.open(store, tmp_path / "cache", "way")
    assert (kept.read(pa.array(ids)) == prints).all()
    assert kept.sketches(pa.array(ids)).any(axis=(1, 2, 3)).all()
