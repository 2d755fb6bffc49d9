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
from lookalike.index.segment import FORMAT, FORMATS
from lookalike.index.writer import SegmentWriter
from lookalike.storage.artefacts import fetch
from tests.attacks.segments import ATTACKS, ATTACKS_2, Attack, random_damage
from tests.index.conftest import Snapshot, descriptor, make_snapshot

GOLDEN = Path(__file__).parents[1] / "golden"
ROWS = {"a": 5, "b/c": 40, "b/d": 1}
RICH = {"photos": 3, "further": True, "descriptors": {"look": 24}}
"""Every kind of column that format 2 can have."""
FUZZ_CASES = 1000


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound segment, small."""
    root = tmp_path_factory.mktemp("sound")
    made = make_snapshot(root / "store", ROWS, **RICH)  # type: ignore[arg-type]
    ref = build(made.store, made.curated, made.extraction, cache_dir=root)
    return fetch(made.store, ref, root).path("segment-000-of-001.arrow")


@pytest.fixture
def sound(request: pytest.FixtureRequest, segment: Path) -> Path:
    """A sound segment of the format that the test names."""
    return segment if request.param == 2 else GOLDEN / "segment-format-1.arrow"


def use(path: Path) -> int:
    """Open a snapshot of one segment and touch everything in it."""
    snapshot = IndexSnapshot.open_files([path])
    scanner, letters = Scanner(1), 0
    for category in snapshot.categories:
        for part in snapshot.partitions(category):
            for texts in (part.listing_ids, part.photo_ids, part.groups, *part.aspects.values()):
                letters += len(str(texts.to_pylist()))
            for column in part.columns.values():
                letters += len(str(column.to_pylist()))
                column.validate(full=True)
            rows = part.first_of(np.arange(len(part)))
            letters += int(part.photo_ordinals(rows).sum()) + sum(
                int(d.sum()) for d in part.descriptors.values()
            )
            scanner.top_k(part.codes[:1], [part], 3)
            letters += int(np.isnan(part.prices).sum())
    return letters


def test_any_arrow_library_reads_a_segment(segment: Path) -> None:
    file = pa.ipc.open_file(pa.memory_map(str(segment)))
    snapshot = IndexSnapshot.open_files([segment])
    assert [file.get_batch(i).num_rows for i in range(file.num_record_batches)] == list(
        snapshot.rows.values()
    )
    assert dict(snapshot.listings) == ROWS
    table = file.read_all()
    table.validate(full=True)
    part = snapshot.partitions("b/c")[0]
    batch = file.get_batch(1)
    assert batch["listing_id"].to_pylist() == part.listing_ids.to_pylist()
    assert part.ordinals is not None
    assert batch["photo_ordinal"].to_pylist() == part.ordinals.tolist()
    assert batch["code"].to_pylist() == [code.tobytes() for code in part.codes]
    assert batch["look"].to_pylist() == [look.tobytes() for look in part.descriptors["look"]]
    assert batch["aspect_color"].to_pylist() == part.aspects["color"].to_pylist()
    assert batch["price"].to_pylist() == [None if np.isnan(p) else p for p in part.prices.tolist()]
    assert list(part.columns) == ["title", "price", "seller", "url", "image_url", "currency"]
    for name, column in part.columns.items():
        assert batch[name].to_pylist() == column.to_pylist()


def test_a_row_is_a_photo_and_knows_its_listing(tmp_path: Path) -> None:
    made = make_snapshot(tmp_path / "store", ROWS, missing=9, **RICH)  # type: ignore[arg-type]
    ref = build(made.store, made.curated, made.extraction, shards=2, cache_dir=tmp_path)
    snapshot = IndexSnapshot.open(fetch(made.store, ref, tmp_path))
    listings = {row["listing_id"]: row for row in made.listings.to_pylist()}
    expected = [row for row in made.photos.to_pylist() if row["photo_id"] in made.codes]
    found = []
    for category in snapshot.categories:
        for part in snapshot.partitions(category):
            rows = np.arange(len(part))
            columns = {name: part.column(name, rows) for name in part.columns}
            for row, listing_id in enumerate(part.listing_ids.to_pylist()):
                photo_id = part.photo_ids[row].as_py()
                ordinal = int(part.photo_ordinals(rows)[row])
                found.append({"listing_id": listing_id, "ordinal": ordinal, "photo_id": photo_id})
                assert (part.codes[row] == made.codes[photo_id]).all()
                assert part.descriptors["look"][row].tobytes() == descriptor(photo_id, "look", 24)
                stated = listings[listing_id]
                assert stated["category"] == category
                assert {n: c[row].as_py() for n, c in columns.items() if c is not None} == {
                    n: stated[n] for n in columns
                }
    assert sorted(found, key=lambda row: (row["listing_id"], row["ordinal"])) == expected
    assert sum(snapshot.listings.values()) == len({row["listing_id"] for row in expected})
    assert inspection.verify(fetch(made.store, ref, tmp_path)) == []


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


@pytest.mark.parametrize("number", FORMATS)
def test_the_golden_segment_of_every_format_opens_and_would_be_written_the_same_today(
    number: int, tmp_path: Path
) -> None:
    golden = GOLDEN / f"segment-format-{number}.arrow"
    snapshot = IndexSnapshot.open_files([golden])
    assert snapshot.format == number
    assert dict(snapshot.listings) == ROWS
    part = snapshot.partitions("a")[0]
    assert sorted(set(part.listing_ids.to_pylist())) == [
        "L0000012",
        "L0000241",
        "L0000416",
        "L0000446",
        "L0000457",
    ]
    first = part.firsts if number > 1 else np.arange(5)
    assert first is not None
    assert part.prices[first].tolist() == [1, 27, 42, 43, 45]
    assert [part.aspects["color"][int(row)].as_py() for row in first] == [["red"], [], [], ["red"], []]
    if number > 1:
        assert part.photo_ordinals(np.arange(8)).tolist() == [0, 0, 1, 0, 1, 0, 0, 1]
        seller = part.column("seller", np.arange(8))
        assert seller is not None
        assert seller.to_pylist() == ["seller 1", *["seller 0"] * 4, "seller 1", None, None]
    assert golden.read_bytes() == written_again(golden, tmp_path / "again.arrow")


def test_the_golden_segment_of_the_newest_format_is_what_the_builder_makes(segment: Path) -> None:
    assert (GOLDEN / f"segment-format-{FORMAT}.arrow").read_bytes() == segment.read_bytes()


def written_again(path: Path, copy: Path) -> bytes:
    """The bytes of a segment without sketches that the writer makes of what the reader read."""
    mapped = MappedSegment(path)
    snapshot = IndexSnapshot.open_files([path])
    with copy.open("wb") as file:
        dictionaries = {
            name: (column if pa.types.is_dictionary(column.type) else column.values).dictionary
            for name in mapped.header.dictionaries
            for column in [mapped.batch(0)[name]]
        }
        writer = SegmentWriter(file, mapped.header, dictionaries)
        for category, _ in mapped.header.categories:
            (part,) = snapshot.partitions(category)
            columns = {"listing_id": part.listing_ids, "photo_id": part.photo_ids, "group": part.groups}
            columns |= {"photo_ordinal": pa.array(part.photo_ordinals(np.arange(len(part))))}
            columns |= dict(part.columns) | {f"aspect_{n}": lists for n, lists in part.aspects.items()}
            holes = writer.add(pa.RecordBatch.from_pydict(columns), sketched=False)
            at = file.tell()
            for name, vectors in {"code": part.codes, **part.descriptors}.items():
                file.seek(holes.vectors[name])
                file.write(vectors.tobytes())
            file.seek(at)
        writer.finish()
    return copy.read_bytes()


@pytest.mark.parametrize("sound", FORMATS, indirect=True)
@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_refused_by_its_rule(name: str, sound: Path, tmp_path: Path) -> None:
    attacked(*ATTACKS[name], sound, tmp_path)


@pytest.mark.parametrize("name", ATTACKS_2)
def test_an_attack_on_the_columns_is_refused_by_its_rule(name: str, segment: Path, tmp_path: Path) -> None:
    attacked(*ATTACKS_2[name], segment, tmp_path)


def attacked(rule: str, attack: Attack, sound: Path, tmp_path: Path) -> None:
    path = tmp_path / "attacked.arrow"
    path.write_bytes(attack(sound.read_bytes(), MappedSegment(sound)))
    with pytest.raises(SegmentError, match=r"attacked\.arrow") as caught:
        use(path)
    assert caught.value.rule == rule


@pytest.mark.parametrize("sound", FORMATS, indirect=True)
def test_random_damage_never_does_worse_than_a_segment_error(sound: Path, tmp_path: Path) -> None:
    data, rng, refused = sound.read_bytes(), np.random.default_rng(11), 0
    path = tmp_path / "damaged.arrow"
    for _ in range(FUZZ_CASES):
        path.write_bytes(random_damage(data, rng))
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
