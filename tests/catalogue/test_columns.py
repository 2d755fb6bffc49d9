"""Columns say what objects would: cells, rows in another order, digests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.catalogue import cells, fields
from lookalike.catalogue.coded import Coded
from lookalike.catalogue.duplicates import joined
from lookalike.catalogue.facts import Facts
from lookalike.catalogue.listings import LeftOut, Losses
from lookalike.catalogue.pictures import Pictured, digest_of_photos
from lookalike.catalogue.places import PhotoPlaces
from lookalike.catalogue.spool import Spool
from lookalike.catalogue.tables import RowProblem
from lookalike.storage.artefacts import digest_of

CELLS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.sampled_from(
        ["", " a ", "\u2003em", "a\tb", "\x1c", "…", "a\x00", "x" * 201, "y" * 10_001, "Train", "é|É"]
    ),
)
TABLE = pa.schema([("number", pa.int64()), ("text", pa.string()), ("list", pa.list_(pa.string()))])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(CELLS, st.none()), max_size=20), st.sampled_from(["title", "split", "currency"]))
def test_cells_mean_what_each_means_alone(column: list[str | None], name: str) -> None:
    unclear: cells.Unclear = {}
    found = cells.optional(name, column, unclear).to_pylist()
    told = [fields.optional(name, cell) for cell in column]
    assert found == [text for text, _ in told]
    assert unclear == {at: {name: why} for at, (_, why) in enumerate(told) if why}


@settings(max_examples=150, deadline=None)
@given(st.lists(CELLS, max_size=20))
def test_ids_and_categories_mean_what_each_means_alone(column: list[str]) -> None:
    def alone(meaning: object, cell: str) -> tuple[str, str]:
        try:
            return meaning(cell), ""
        except RowProblem as problem:
            return "", problem.detail

    memory = cells.Memory(cells.category)
    for meaning, (found, problems) in (
        (fields.listing_id, cells.listing_ids(column)),
        (fields.category, cells.categories(column, memory)),
    ):
        told = [alone(meaning, cell) for cell in column]
        assert found.to_pylist() == [text for text, _ in told]
        assert {at: x.detail for at, x in problems.items()} == {
            at: why for at, (_, why) in enumerate(told) if why
        }


@pytest.mark.parametrize("folder", ["file:///shop", "s3://bucket/a/b"])
@given(image=st.from_regex(r"\A(https?://)?[a-zA-Z0-9_ .%~/-]{1,30}\Z"))
def test_what_is_taken_without_a_check_would_pass_it(folder: str, image: str) -> None:
    from lookalike.catalogue.places import PLAIN, PLAIN_LENGTH

    places = PhotoPlaces(folder)
    if cells.is_plain(pa.array([image]), PLAIN, PLAIN_LENGTH)[0]:
        assert fields.images("image", image) == [image]
        places.check(image)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 9), max_size=12), st.integers(0, 2**31), st.integers(1, 9), st.integers(0, 200)
)
def test_rows_come_back_in_any_order(lengths: list[int], seed: int, block: int, held: int) -> None:
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    rows = [{"number": n, "text": "x" * (n % 5), "list": ["y"] * (n % 3) or None} for n in range(count)]
    spool = Spool(TABLE, held=held)
    before = 0
    for length in lengths:
        spool.add(pa.RecordBatch.from_pylist(rows[before : before + length], TABLE))
        before += length
    assert [row for batch in spool.batches() for row in batch.to_pylist()] == rows
    assert spool.column("text").to_pylist() == [row["text"] for row in rows]
    assert spool.slice(count // 3, count // 2).to_pylist() == rows[count // 3 :][: count // 2]
    order = rng.permutation(count)[: rng.integers(0, count + 1)].astype(np.int64)
    found = list(spool.in_order(order, block))
    assert all(table.num_rows == block for table in found[:-1])
    assert [row for table in found for row in table.to_pylist()] == [rows[at] for at in order]


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        CELLS.filter(bool), st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True), max_size=9
    ),
    st.lists(st.tuples(CELLS, CELLS), max_size=4),
)
def test_the_digest_of_photos_is_that_of_the_objects(
    photos: dict[str, list[int]], lost: list[tuple[str, str]]
) -> None:
    ids = Coded.of([pa.array(list(photos), pa.string())])
    order = np.array(sorted(range(len(photos)), key=list(photos).__getitem__), np.int32)
    starts = np.append(0, np.cumsum([len(x) for x in photos.values()])).astype(np.int32)
    flat = np.array([photo for x in photos.values() for photo in x], np.int32)
    pictured = Pictured(np.arange(len(photos), dtype=np.int32), starts, flat)
    names = pa.array([f"{at:032x}" for at in range(6)])
    gone = Losses.of([LeftOut(at, text, why, "") for at, (text, why) in enumerate(dict(lost).items())])
    found = digest_of_photos(Facts(ids, order, *[ids] * 4), pictured, names, gone, gone, gone)
    used = {
        text: f"{own[0]:032x}" if len(own) == 1 else [f"{at:032x}" for at in own]
        for text, own in photos.items()
    }
    told = [[x.listing_id, x.reason] for x in gone]
    before = [[x.line, x.reason] for x in gone]
    assert found == digest_of(
        [used, {x.listing_id: x.reason for x in gone}, before, *([told] if told else [])]
    )


@given(st.integers(1, 30), st.lists(st.lists(st.integers(-1, 8), max_size=30), min_size=1, max_size=3))
def test_groups_are_those_of_a_walk_from_node_to_node(count: int, columns: list[list[int]]) -> None:
    ties = [np.resize([-1, *column], count) for column in columns]
    labels = np.arange(count, dtype=np.int32)
    for codes in ties:
        own = np.flatnonzero(codes >= 0).astype(np.int32)
        labels = joined(labels, own, codes[own])
    for node in range(count):
        seen, open_ = {node}, [node]
        while open_:
            at = open_.pop()
            near = {int(x) for codes in ties if codes[at] >= 0 for x in np.flatnonzero(codes == codes[at])}
            open_ += near - seen
            seen |= near
        assert labels[node] == min(seen)


def test_a_long_catalogue_in_any_order_is_read_like_a_short_one(tmp_path: Path) -> None:
    """Beyond what stays in memory, with listings of several rows far apart."""
    from lookalike.catalogue.reading import read_catalogue

    count = 12_000
    order = np.random.default_rng(0).permutation(2 * count)
    title = "a thing of the finest make " * 60
    rows = [f"L{at % count},{at}.jpg,a/{at % 7},{title}{at % count}\n" for at in order.tolist()]
    (tmp_path / "x.csv").write_text("listing_id,image,category,title\n" + "".join(rows))
    found = read_catalogue(str(tmp_path / "x.csv")).listings
    firsts = list(dict.fromkeys((order % count).tolist()))
    images: dict[int, list[str]] = {at: [] for at in firsts}
    for at in order.tolist():
        images[at % count].append(f"{at}.jpg")
    assert [x.listing_id for x in found] == [f"L{at}" for at in firsts]
    assert [list(x.images) for x in found] == list(images.values())
    assert found[-1].title == f"{title}{firsts[-1]}"
