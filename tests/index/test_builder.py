"""Building an index snapshot from a curated snapshot and its code shards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lookalike.errors import CatalogueError, CorruptObject, SegmentError
from lookalike.index import inspection, sketch
from lookalike.index.builder import build
from lookalike.index.hamming import Scanner
from lookalike.index.reader import IndexSnapshot
from lookalike.storage.artefacts import ArtefactWriter, Kind, fetch, read_manifest
from tests.index.conftest import RELEASE, Snapshot, make_snapshot, parquet

MakeSnapshot = Callable[..., Snapshot]


def open_index(snapshot: Snapshot, cache: Path, **options: object) -> IndexSnapshot:
    ref = build(snapshot.store, snapshot.curated, snapshot.extraction, cache_dir=cache, **options)  # type: ignore[arg-type]
    return IndexSnapshot.open(fetch(snapshot.store, ref, cache))


def test_every_listing_with_a_code_is_found_in_its_category(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a/b": 40, "a/c": 30, "d": 1}, missing=5)
    index = open_index(made, tmp_path, shards=3)
    expected = {
        (row["listing_id"], row["category"], row["price"], tuple(row["aspect_color"]))
        for row in made.listings.to_pylist()
        if row["photo_id"] in made.codes
    }
    found = set()
    for category in index.categories:
        for part in index.partitions(category):
            for i, (listing, photo) in enumerate(
                zip(part.listing_ids.to_pylist(), part.photo_ids.to_pylist(), strict=True)
            ):
                assert (part.codes[i] == made.codes[photo]).all()
                price = None if np.isnan(part.prices[i]) else float(part.prices[i])
                found.add((listing, category, price, tuple(part.aspects["color"][i].as_py())))
    assert found == expected
    assert len(index) == len(expected)
    assert index.release == str(RELEASE)


def test_the_nearest_listing_of_a_photo_is_itself(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a": 40, "b": 30})
    index = open_index(made, tmp_path, shards=2)
    partitions = [p for c in index.categories for p in index.partitions(c)]
    photo, code = next(iter(made.codes.items()))
    found = Scanner(1).top_k(code[None], partitions, 5)
    assert found.distance.shape == (1, 5)
    assert found.distance[0, 0] == 0
    assert partitions[found.partition[0, 0]].photo_ids[int(found.row[0, 0])].as_py() == photo


def test_text_of_a_listing_is_written_once_however_many_photos_it_has(tmp_path: Path) -> None:
    made = make_snapshot(tmp_path / "made", {"a": 30}, photos=4)
    tables = {"titled": "T" * 1000, "plain": ""}
    sizes = {}
    for name, title in tables.items():
        listings = made.listings.set_column(
            made.listings.column_names.index("title"), "title", pa.array([title] * len(made.listings))
        )
        writer = ArtefactWriter(made.store, Kind.CURATED, inputs={"title": name}, config={})
        writer.add("listings.parquet", parquet(listings))
        writer.add("listing_photos.parquet", parquet(made.photos))
        ref = build(made.store, writer.commit(), made.extraction, cache_dir=tmp_path)
        sizes[name] = sum(entry.size for entry in read_manifest(made.store, ref).files)
    assert len(made.photos) > 1.5 * len(made.listings)
    assert 1000 * len(made.listings) <= sizes["titled"] - sizes["plain"] < 1100 * len(made.listings)


def test_rows_of_each_category_are_spread_evenly(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    index = open_index(snapshot({"a": 41, "b": 2, "c": 2, "d": 2}), tmp_path, shards=4)
    assert sorted(len(part) for part in index.partitions("a")) == [10, 10, 10, 11]
    assert sum(len(index.partitions(category)[0]) for category in "bcd") == 3
    by_shard = [sum(n for _, n in segment.header.categories) for segment in index._segments]
    assert max(by_shard) - min(by_shard) <= 2


def test_only_the_splits_asked_for_are_indexed(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a": 40, "b": 30})
    index = open_index(made, tmp_path, splits=["val", "test"])
    expected = {row["listing_id"] for row in made.listings.to_pylist() if row["split"] != "train"}
    assert {
        i for c in index.categories for p in index.partitions(c) for i in p.listing_ids.to_pylist()
    } == expected


def test_what_is_left_out_is_counted(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a": 40, "b": 30}, missing=5)
    meta = read_manifest(
        made.store, build(made.store, made.curated, made.extraction, cache_dir=tmp_path)
    ).meta
    lost = sum(row["photo_id"] not in made.codes for row in made.listings.to_pylist())
    assert lost >= 5
    assert (meta["rows"], meta["without_code"]) == (70 - lost, lost)
    assert sum(meta["categories"].values()) == meta["rows"]
    assert meta["release"] == str(RELEASE)


def test_nothing_to_index_is_an_error(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a": 10})
    with pytest.raises(CatalogueError, match="nothing to index"):
        build(made.store, made.curated, made.extraction, splits=["no such"], cache_dir=tmp_path)


def test_a_damaged_code_shard_is_refused(snapshot: MakeSnapshot, tmp_path: Path) -> None:
    made = snapshot({"a": 10})
    shard = next(info.key for info in made.store.list("codes/"))
    path = made.store.local_path(shard)
    assert path is not None
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptObject, match="does not match its digest"):
        build(made.store, made.curated, made.extraction, cache_dir=tmp_path)


def test_large_categories_get_a_sketch_that_fits_their_codes(
    snapshot: MakeSnapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sketch, "MIN_ROWS", 1000)
    made = snapshot({"large": 1500, "small": 30}, bits=512, correlated=True)
    ref = build(made.store, made.curated, made.extraction, shards=2, cache_dir=tmp_path)
    artefact = fetch(made.store, ref, tmp_path)
    assert inspection.describe(artefact)["sketched"] == ["large"]
    assert inspection.verify(artefact) == []
    index = IndexSnapshot.open(artefact)
    queries = np.stack(list(made.codes.values())[:5])
    parts = index.partitions("large")
    pruned, plain = (Scanner(1).top_k(queries, parts, 20, sketches=s) for s in (True, False))
    assert (pruned.row == plain.row).all()
    assert (pruned.distance == plain.distance).all()
    path = artefact.path("segment-001-of-002.arrow")
    data = path.read_bytes()
    letters = parts[0].sketch.grouping.to_letters() if parts[0].sketch else b"?"
    assert data.count(letters) == 1
    path.write_bytes(data.replace(letters, b"Z" + letters[1:]))
    with pytest.raises(SegmentError, match="rule: sketch"):
        IndexSnapshot.open(artefact)
