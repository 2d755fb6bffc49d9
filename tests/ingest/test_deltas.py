"""Whatever is changed, and however deltas are merged: base and deltas answer like a full build of the end state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lookalike.index.builder import build
from lookalike.index.generation import MOST_DELTAS, Generation, read_generation
from lookalike.index.hamming import Scanner
from lookalike.index.layers import LayeredIndex, open_delta, open_index
from lookalike.index.reader import IndexSnapshot
from lookalike.index.searchable import PHOTOS
from lookalike.ingest import deltas
from lookalike.ingest.deltas import build_delta, kept_deltas
from lookalike.ingest.difference import State, compare
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import Listings, Wanted
from lookalike.ranking.local import MappedListings
from lookalike.sharding import wire
from lookalike.sharding.remote import RemoteCandidates, merge_nearest, merge_summaries
from lookalike.storage import keys
from lookalike.storage.artefacts import ArtefactWriter, Kind, Ref, fetch, read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.index.conftest import PRESET, RELEASE, parquet

BITS = 64
SHARDS = 2
CATEGORIES = ("a", "b", "c/d")
SCANNER = Scanner(1)


@dataclass(frozen=True)
class Row:
    """A listing. The code of each of its photos follows from the photo."""

    photo: int
    more: tuple[int, ...] = ()
    """Its other photos."""
    category: str = "a"
    price: float | None = None
    group: int = 0
    brands: tuple[str, ...] = ()
    title: str | None = None
    seller: str | None = None
    availability: str | None = None

    @property
    def photos(self) -> tuple[int, ...]:
        return (self.photo, *self.more)


Catalogue = dict[str, Row]


def code_of(photo: int) -> bytes:
    """Of few distinct values, so that many distances are equal."""
    return np.random.default_rng(photo % 7).integers(0, 256, BITS // 8, np.uint8).tobytes()


def photo_id(photo: int) -> str:
    return hashlib.md5(str(photo).encode()).hexdigest()


def store_state(store: DirectoryStore, catalogue: Catalogue) -> State:
    """Curated snapshot and extraction of a catalogue; photos whose number is a multiple of 11 have no code."""
    rows = sorted(catalogue.items())
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    table = pa.table(
        {
            "listing_id": pa.array([name for name, _ in rows], pa.utf8()),
            "photo_id": pa.array([photo_id(row.photo) for _, row in rows], pa.utf8()),
            "category": pa.array([row.category for _, row in rows], pa.utf8()),
            "split": pa.array(["train"] * len(rows), pa.utf8()),
            "title": pa.array([row.title for _, row in rows], pa.utf8()),
            "price": pa.array([row.price for _, row in rows], pa.float64()),
            "seller": pa.array([row.seller for _, row in rows], pa.utf8()),
            "availability": pa.array([row.availability for _, row in rows], pa.utf8()),
            "group": pa.array([f"g{row.group}" for _, row in rows], pa.utf8()),
            "number_weight": pa.array([row.price and row.price / 4 for _, row in rows], pa.float64()),
            "text_badge": pa.array([row.title and row.title.upper() for _, row in rows], pa.utf8()),
            "aspect_brand": pa.array([list(row.brands) or None for _, row in rows], pa.list_(pa.utf8())),
        }
    )
    writer = ArtefactWriter(store, Kind.CURATED, inputs={"catalogue": digest}, config={})
    writer.add("listings.parquet", parquet(table))
    of_listings = [(name, i, photo_id(p)) for name, row in rows for i, p in enumerate(row.photos)]
    columns = (list(column) for column in zip(*of_listings, strict=True))
    writer.add("listing_photos.parquet", parquet(pa.table(list(columns), schema=PHOTOS)))
    curated = writer.existing() or writer.commit()
    photos = sorted({photo for row in catalogue.values() for photo in row.photos})
    coded = [photo for photo in photos if photo % 11]
    shards = []
    for start in range(0, len(coded), 5):
        lot = coded[start : start + 5]
        data = parquet(
            pa.table(
                {
                    "photo_id": pa.array([photo_id(p) for p in lot], pa.utf8()),
                    "code": pa.array([code_of(p) for p in lot], pa.binary(BITS // 8)),
                }
            )
        )
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(key := keys.code_shard(RELEASE.id, sha256), data)
        shards.append({"key": key, "sha256": sha256, "size": len(data), "rows": len(lot)})
    inputs = {"curated": str(curated), "release": str(RELEASE)}
    writer = ArtefactWriter(store, Kind.EXTRACTION, inputs=inputs, config={})
    writer.add("shards.json", json.dumps({"shards": shards}).encode())
    undecodable = [photo_id(photo) for photo in photos if not photo % 11]
    meta = {"release": str(RELEASE), "bits": BITS, "preset": PRESET, "undecodable": undecodable}
    return State(curated, writer.existing() or writer.commit(meta))


def full_build(store: DirectoryStore, state: State, cache: Path) -> Ref:
    return build(store, state.curated, state.extraction, shards=SHARDS, cache_dir=cache)


def follow(store: DirectoryStore, live: Generation, catalogue: Catalogue, cache: Path) -> Generation:
    """The generation after the one that is live, as a re-index makes it."""
    manifest = read_manifest(store, live.tip)
    state = store_state(store, catalogue)
    difference = compare(store, State.of(manifest.inputs, manifest.config), state, cache)
    if not len(difference):
        return live
    return read_generation(store, build_delta(store, live, state, difference, cache_dir=cache))


def answers(listings: Listings, queries: Sequence[np.ndarray]) -> list[object]:
    """Everything that ranking can ask."""
    wanted = [
        Wanted(
            query,
            categories,
            filters,
            k,
            weights=np.linspace(0, 1, BITS, dtype=np.float32),
            aspects=("brand",),
            own=("number_weight", "text_badge"),
        )
        for query in queries
        for categories in (CATEGORIES, ("b",))
        for k in (1, 3, 50)
        for filters in (Filters(), Filters((("brand", ("x",)),)), Filters((), 2.0, 5.0))
    ]
    said: list[object] = []
    for found in listings.nearest(wanted):
        said.append(
            [
                found.distance.tolist(),
                found.groups(),
                found.expected_distances().tolist() if len(found) else [],
                found.chances("brand", {"x": 0.5, "y": 0.25}).tolist() if len(found) else [],
                [repr(listing) for listing in found.listings(["brand"])] if len(found) else [],
            ]
        )
    for number in range(40):
        found_one = listings.find(f"L{number:02d}")
        said.append(None if found_one is None else (repr(found_one[0]), found_one[1].tobytes()))
    summary = listings.summary
    said.append(
        (
            dict(summary.rows),
            dict(summary.stated),
            {name: dict(values) for name, values in summary.values.items()},
            summary.prices,
            dict(summary.examples),
        )
    )
    return said


class InShards:
    """The shards of a generation, asked one by one and merged, as a coordinator does with its rankers."""

    def __init__(self, store: DirectoryStore, live: Generation, cache: Path) -> None:
        base, *later = (fetch(store, ref, cache) for ref in live.parts)
        self.shards = [
            MappedListings(
                LayeredIndex(
                    IndexSnapshot.open(base, shard=shard), [open_delta(delta, shard=shard) for delta in later]
                ),
                SCANNER,
            )
            for shard in range(SHARDS)
        ]
        self.summary = merge_summaries([shard.summary for shard in self.shards])

    def nearest(self, wanted: Sequence[Wanted]) -> list[RemoteCandidates]:
        parts = [wire.read_found(wire.found_bytes(wanted, s.nearest(wanted)), wanted) for s in self.shards]
        return [
            RemoteCandidates(w, merge_nearest(w, each), ())
            for w, each in zip(wanted, zip(*parts, strict=True), strict=True)
        ]

    def find(self, listing_id: str) -> object:
        return next((found for s in self.shards if (found := s.find(listing_id)) is not None), None)


ROWS = st.builds(
    Row,
    photo=st.integers(0, 40),
    more=st.just(()) | st.lists(st.integers(0, 40), min_size=1, max_size=3).map(tuple),
    category=st.sampled_from(CATEGORIES),
    price=st.sampled_from([None, 1.0, 2.0, 4.0, 8.0]),
    group=st.integers(0, 4),
    brands=st.sampled_from([(), ("x",), ("y",), ("x", "y"), ("y", "x"), ("z",)]),
    title=st.sampled_from([None, "one", "two"]),
)
NAMES = st.integers(0, 39).map(lambda number: f"L{number:02d}")
CHANGES = st.dictionaries(NAMES, st.none() | ROWS, max_size=8)


@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    phases=(Phase.reuse, Phase.generate),  # shrinking takes minutes
)
@given(
    first=st.dictionaries(NAMES, ROWS, min_size=12, max_size=30),
    steps=st.lists(CHANGES, min_size=1, max_size=5),
    absorb=st.sampled_from([0, 1, 2]),
)
def test_base_and_deltas_answer_like_a_full_build(
    tmp_path_factory: pytest.TempPathFactory,
    first: Catalogue,
    steps: list[dict[str, Row | None]],
    absorb: int,
) -> None:
    root = tmp_path_factory.mktemp("deltas")
    store, cache = DirectoryStore(root / "store"), root / "cache"
    catalogue = {**first, "L99": Row(photo=1)}  # never changed, so that something is always left
    live = Generation(full_build(store, store_state(store, catalogue), cache))
    queries = [np.frombuffer(code_of(photo), np.uint8) ^ np.uint8(photo) for photo in (1, 3)]
    base = IndexSnapshot.open(fetch(store, live.base, cache))
    opened, local = LayeredIndex(base, []), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "_ABSORB", absorb)
        for changes in steps:
            catalogue = {name: row for name, row in {**catalogue, **changes}.items() if row is not None}
            live = follow(store, live, catalogue, cache)
            layers = [open_delta(fetch(store, ref, cache)) for ref in live.deltas]
            opened = LayeredIndex(base, layers, reuse=opened)  # as a pod goes from one generation to the next
            local = MappedListings(opened, SCANNER, reuse=local)
            whole = full_build(store, store_state(store, catalogue), cache)
            wanted = answers(MappedListings(open_index(fetch(store, whole, cache)), SCANNER), queries)
            assert answers(local, queries) == wanted
            assert answers(InShards(store, live, cache), queries) == wanted  # type: ignore[arg-type]
            if live.deltas:
                stated, built = (read_manifest(store, ref).meta for ref in (live.tip, whole))
                wanted = {
                    name: value
                    for name, value in built.items()
                    if name
                    not in (
                        "without_code",
                        "likeness",
                    )  # the first may change alone, the base keeps the other
                }
                assert {name: stated[name] for name in wanted} == wanted


def test_nothing_changed_is_no_difference(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path / "store")
    catalogue = {
        f"L{i:02d}": Row(photo=i, brands=("x", "y")[: i % 3], price=float(i) if i % 2 else None)
        for i in range(30)
    }
    live = Generation(full_build(store, store_state(store, catalogue), tmp_path / "cache"))
    assert follow(store, live, dict(reversed(catalogue.items())), tmp_path / "cache") == live


def test_the_same_change_gives_the_same_delta(tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        store, cache = DirectoryStore(tmp_path / name), tmp_path / f"{name}-cache"
        catalogue = {f"L{i:02d}": Row(photo=i) for i in range(1, 10)}
        live = Generation(full_build(store, store_state(store, catalogue), cache))
        catalogue["L03"] = replace(catalogue["L03"], price=9.0)
        made.append(follow(store, live, catalogue, cache).tip)
        assert follow(store, live, catalogue, cache).tip == made[-1], "found written"
    assert made[0] == made[1]


def test_deltas_are_merged_by_size() -> None:
    sizes: list[int] = []
    for _ in range(1000):
        kept = kept_deltas(sizes, 10)
        sizes = [*sizes[:kept], sum(sizes[kept:]) + 10]
        assert len(sizes) <= MOST_DELTAS
    assert sum(sizes) == 10_000
    assert all(large > small for large, small in pairwise(sizes))
    assert kept_deltas([1 << 30 - 2 * i for i in range(8)], 1) == 7, "never more than eight"
