"""The segment format: read by any Arrow library, the same bytes every time, refused when anything is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lookalike.errors import SegmentError
from lookalike.index import inspection
from lookalike.index.builder import build
from lookalike.index.hamming import Scanner
from lookalike.index.mapped import MappedSegment
from lookalike.index.reader import IndexSnapshot
from lookalike.storage.artefacts import fetch
from tests.attacks.segments import ATTACKS, random_damage
from tests.index.conftest import Snapshot, make_snapshot

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS = {"a": 5, "b/c": 40, "b/d": 1}
FUZZ_CASES = 2000


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound segment, small."""
    root = tmp_path_factory.mktemp("sound")
    made = make_snapshot(root / "store", ROWS)
    ref = build(made.store, made.curated, made.extraction, cache_dir=root)
    return fetch(made.store, ref, root).path("segment-000-of-001.arrow")


def use(path: Path) -> int:
    """Open a snapshot of one segment and touch everything in it."""
    snapshot = IndexSnapshot.open_files([path])
    scanner, letters = Scanner(1), 0
    for category in snapshot.categories:
        for part in snapshot.partitions(category):
            for texts in (part.listing_ids, part.photo_ids, part.groups, *part.aspects.values()):
                letters += len(str(texts.to_pylist()))
            scanner.top_k(part.codes[:1], [part], 3)
            letters += int(np.isnan(part.prices).sum())
    return letters


def test_any_arrow_library_reads_a_segment(segment: Path) -> None:
    file = pa.ipc.open_file(pa.memory_map(str(segment)))
    assert [file.get_batch(i).num_rows for i in range(file.num_record_batches)] == list(ROWS.values())
    table = file.read_all()
    table.validate(full=True)
    part = IndexSnapshot.open_files([segment]).partitions("b/c")[0]
    batch = file.get_batch(1)
    assert batch["listing_id"].to_pylist() == part.listing_ids.to_pylist()
    assert batch["code"].to_pylist() == [code.tobytes() for code in part.codes]
    assert batch["aspect_color"].to_pylist() == part.aspects["color"].to_pylist()
    assert batch["price"].to_pylist() == [None if np.isnan(p) else p for p in part.prices.tolist()]


def test_every_buffer_begins_on_a_cache_line(segment: Path) -> None:
    mapped = MappedSegment(segment)
    assert (mapped.starts % 64 == 0).all()


def test_the_same_inputs_give_the_same_bytes(tmp_path: Path) -> None:
    refs = set()
    for run in ("first", "second"):
        made = make_snapshot(tmp_path / run, {"a": 30, "b": 20})
        refs.add(
            build(made.store, made.curated, made.extraction, shards=2, cache_dir=tmp_path / f"{run}-cache")
        )
    assert len(refs) == 1


def test_the_golden_segment_of_format_1_opens_and_would_be_written_the_same_today(segment: Path) -> None:
    golden = GOLDEN / "segment-format-1.arrow"
    snapshot = IndexSnapshot.open_files([golden])
    assert dict(snapshot.rows) == ROWS
    assert snapshot.partitions("a")[0].listing_ids.to_pylist() == [
        "L0000012",
        "L0000241",
        "L0000416",
        "L0000446",
        "L0000457",
    ]
    assert golden.read_bytes() == segment.read_bytes()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_by_its_rule(name: str, segment: Path, tmp_path: Path) -> None:
    rule, attack = ATTACKS[name]
    path = tmp_path / "attacked.arrow"
    path.write_bytes(attack(segment.read_bytes(), MappedSegment(segment)))
    with pytest.raises(SegmentError, match=r"attacked\.arrow") as caught:
        use(path)
    assert caught.value.rule == rule


def test_random_damage_never_does_worse_than_a_segment_error(segment: Path, tmp_path: Path) -> None:
    sound, rng, refused = segment.read_bytes(), np.random.default_rng(11), 0
    path = tmp_path / "damaged.arrow"
    for _ in range(FUZZ_CASES):
        path.write_bytes(random_damage(sound, rng))
        try:
            use(path)
        except SegmentError:
            refused += 1
    assert refused > FUZZ_CASES / 2


def test_verify_finds_what_opening_leaves_out(tmp_path: Path) -> None:
    made = make_snapshot(tmp_path / "store", ROWS)
    ref = build(made.store, made.curated, made.extraction, cache_dir=tmp_path)
    artefact = fetch(made.store, ref, tmp_path)
    assert inspection.verify(artefact) == []
    described = inspection.describe(artefact)
    assert (described["rows"], described["categories"]) == (46, ROWS)
    path = artefact.path("segment-000-of-001.arrow")
    data, mapped = bytearray(path.read_bytes()), MappedSegment(path)
    start = int(mapped.starts[1, mapped.layout.place("listing_id")])
    data[start : start + 16] = (
        data[start + 8 : start + 16] + data[start : start + 8]
    )  # two ids of eight letters
    path.write_bytes(data)
    assert [problem for problem in inspection.verify(artefact) if "rule: sorted" in problem]


def test_segments_of_different_snapshots_are_not_mixed(
    snapshot: Callable[..., Snapshot], segment: Path, tmp_path: Path
) -> None:
    made = snapshot({"a": 30, "b": 20})
    ref = build(made.store, made.curated, made.extraction, shards=2, cache_dir=tmp_path)
    artefact = fetch(made.store, ref, tmp_path)
    paths = [artefact.path(f"segment-00{i}-of-002.arrow") for i in range(2)]
    assert len(IndexSnapshot.open_files(paths)) == 50
    for wrong in ([paths[0]], [paths[1], paths[0]], [paths[0], paths[0]], [paths[0], segment]):
        with pytest.raises(SegmentError) as caught:
            IndexSnapshot.open_files(wrong)
        assert caught.value.rule == "snapshot"
