"""Columns on a shelf, in memory or on disk, and the same snapshot with little memory as with much."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.catalogue.coded import Coded, below
from lookalike.catalogue.curation import CurationConfig, curate
from lookalike.catalogue.shelf import Shelf
from lookalike.errors import CatalogueError
from lookalike.storage.artefacts import read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.catalogue.conftest import Shop, photos

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(TEXTS, max_size=9), max_size=6), st.sampled_from([64, 4096, 1 << 30]))
def test_a_column_of_text_becomes_the_same_numbers_with_any_memory(
    column: list[list[str]], limit: int
) -> None:
    found = Coded.of([pa.array(part, pa.string()) for part in column], Shelf(limit=limit))
    texts = [text for part in column for text in part]
    distinct = sorted({*texts} - {""})
    assert found.values.to_pylist() == distinct
    assert found.codes.tolist() == [distinct.index(text) if text else -1 for text in texts]
    assert found.texts().to_pylist() == [text or None for text in texts]


@given(st.lists(TEXTS, max_size=20), TEXTS)
def test_a_text_finds_its_place(texts: list[str], text: str) -> None:
    column = pa.array(sorted(texts), pa.string())
    assert below(column, text) == sum(x < text for x in texts)
    assert below(column, text, inclusive=True) == sum(x <= text for x in texts)


def test_what_there_is_no_room_for_lies_on_disk(tmp_path: Path) -> None:
    shelf = Shelf(tmp_path, limit=4096)
    few, many = np.arange(200, dtype=np.int32), np.arange(1000, dtype=np.int32)
    assert shelf.keep(few) is few
    kept = shelf.keep(many)
    assert kept.tolist() == many.tolist()
    assert not kept.flags.owndata
    assert list(tmp_path.iterdir()) == []


def test_columns_of_text_come_together(tmp_path: Path) -> None:
    parts = [pa.array(["a", "é", ""]), pa.array([], pa.string()), pa.array(["bc", "d", "e"])[1:]]
    assert Shelf(tmp_path, limit=0).texts(parts).to_pylist() == ["a", "é", "", "d", "e"]
    assert Shelf(tmp_path).texts([]).to_pylist() == []


def test_a_column_beyond_two_gib_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lookalike.catalogue.shelf._MOST_TEXT", 5)
    with pytest.raises(CatalogueError, match="2 GiB"):
        Shelf(tmp_path).texts([pa.array(["abc"]), pa.array(["def"])])


def rows(count: int, seed: int) -> list[dict[str, object]]:
    """Listings of one row and of several, out of order, with shared photos, and some that cannot be used."""
    rng = random.Random(seed)
    found: list[dict[str, object]] = []
    for number in range(count):
        own = [f"L{rng.randrange(40):03d}.jpg" for _ in range(rng.choice([1, 1, 2]))]
        found.append(
            {
                "listing_id": rng.choice([f"L{rng.randrange(count)}", f"ü{number:05d}"]),
                "image": "|".join([*own, *(["gone.jpg"] if number % 9 == 0 else [])]),
                "category": rng.choice(["a/x", "a/y", "b", ""])
                if number % 5 == 0
                else f"a/{'xy'[number % 2]}",
                "title": f"thing {number}",
                "price": rng.choice(["1", "2.50", "none"]),
                "product": rng.choice(["", f"P{rng.randrange(count)}"]),
                "seller": rng.choice(["", f"S{rng.randrange(20)}"]),
                "aspect_colour": rng.choice(["red", "Red", "blue"]),
            }
        )
    return found


def test_little_memory_makes_the_same_snapshots(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All columns on disk, put in order some rows at a time; first, and with a parent, a cap and excluded listings."""
    config = CurationConfig(min_category=3, seller_cap=12)
    found = []
    for name, gib in (("much", "2"), ("little", "0.000001")):
        monkeypatch.setenv("LOOKALIKE_CATALOGUE_CURATION_GIB", gib)
        store, cache = DirectoryStore(tmp_path / name), tmp_path / f"cache-{name}"
        uri = shop.write(rows(300, 1), photos(40))
        first = curate(store, uri, config, cache_dir=cache)
        uri = shop.write(rows(300, 1)[:250] + rows(60, 2), {})
        excluded = [str(row["listing_id"]) for row in rows(300, 1)[::11]]
        second = curate(store, uri, config, parent=first, excluded=excluded, cache_dir=cache)
        files = [[(x.name, x.sha256) for x in read_manifest(store, ref).files] for ref in (first, second)]
        found.append((first, second, files))
    assert found[0] == found[1]
