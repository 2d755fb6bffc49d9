"""A snapshot in memory: what it costs, what it reports, and how long it stays mapped."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest

from lookalike.errors import SegmentError
from lookalike.index.builder import build
from lookalike.index.reader import IndexSnapshot
from lookalike.index.segment import segment_name
from lookalike.storage.artefacts import ArtefactWriter, Kind, fetch
from tests.index.conftest import Snapshot, make_snapshot, parquet

MAPS = Path("/proc/self/maps")


def open_index(made: Snapshot, cache: Path, shards: int = 1) -> IndexSnapshot:
    ref = build(made.store, made.curated, made.extraction, shards=shards, cache_dir=cache)
    return IndexSnapshot.open(fetch(made.store, ref, cache))


def mapped(root: Path) -> int:
    """Maps of files under `root` that this process holds."""
    gc.collect()
    return sum(str(root) in line for line in MAPS.read_text().splitlines())


def test_columns_are_views_on_the_map(tmp_path: Path) -> None:
    index = open_index(make_snapshot(tmp_path / "store", {"a": 100}), tmp_path)
    part = index.partitions("a")[0]
    start, length = index._segments[0].data.ctypes.data, len(index._segments[0].data)
    addresses = [part.codes.ctypes.data, part.prices.ctypes.data]
    addresses += [buffer.address for ids in (part.listing_ids, part.groups) for buffer in ids.buffers()[1:]]
    assert all(start <= address < start + length for address in addresses)
    assert not part.codes.flags.writeable


def test_one_shard_can_be_opened_with_its_file_alone(tmp_path: Path) -> None:
    made = make_snapshot(tmp_path / "store", {"a": 100, "b": 7})
    ref = build(made.store, made.curated, made.extraction, shards=3, cache_dir=tmp_path)
    parts = []
    for shard in range(3):
        artefact = fetch(made.store, ref, tmp_path, [segment_name(shard, 3)])
        index = IndexSnapshot.open(artefact, shard=shard)
        parts += [i for part in index.partitions("a") for i in part.listing_ids.to_pylist()]
        with pytest.raises(SegmentError, match="does not list"):
            IndexSnapshot.open(artefact, shard=(shard + 1) % 3)
    assert sorted(parts) == open_index(made, tmp_path).partitions("a")[0].listing_ids.to_pylist()


@pytest.mark.parametrize("other", ["colour", "weight"])
def test_an_aspect_may_be_named_as_the_items_of_another_are(tmp_path: Path, other: str) -> None:
    made = make_snapshot(tmp_path / "store", {"a": 40})
    renamed = {"aspect_brand": "aspect_weight.item", "aspect_color": f"aspect_{other}"}
    listings = made.listings.rename_columns([renamed.get(n, n) for n in made.listings.column_names])
    writer = ArtefactWriter(made.store, Kind.CURATED, inputs={"renamed": str(made.curated)}, config={})
    writer.add("listings.parquet", parquet(listings))
    part = open_index(replace(made, curated=writer.commit()), tmp_path).partitions("a")[0]
    stated = {row["listing_id"]: row for row in listings.to_pylist()}
    for name in other, "weight.item":
        expected = [stated[i][f"aspect_{name}"] or [] for i in part.listing_ids.to_pylist()]
        assert part.aspects[name].to_pylist() == expected


def test_an_unknown_category_has_no_partitions(tmp_path: Path) -> None:
    assert open_index(make_snapshot(tmp_path / "store", {"a": 10}), tmp_path).partitions("b") == ()


def test_memory_is_reported_and_prefetched(tmp_path: Path) -> None:
    index = open_index(make_snapshot(tmp_path / "store", {"a": 3000}, bits=4096), tmp_path)
    index.prefetch()
    memory = index.memory()
    assert memory.mapped > 3000 * 512
    assert memory.resident == memory.mapped


@pytest.mark.skipif(not MAPS.exists(), reason="needs /proc")
def test_partitions_outlive_the_snapshot_they_came_from(tmp_path: Path) -> None:
    index = open_index(make_snapshot(tmp_path / "store", {"a": 50}), tmp_path)
    part = index.partitions("a")[0]
    codes = part.codes.copy()
    index.close()
    assert (part.codes == codes).all()
    del part, index
    assert mapped(tmp_path) == 0
