"""Suspected labels: what proves most comes first, and a good label among good ones is left in peace."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from numpy.typing import NDArray
from PIL import Image

from lookalike.catalogue.coded import Coded
from lookalike.catalogue.looks import NEIGHBOURS, Looks, described, updated
from lookalike.catalogue.prints import Prints, add_prints
from lookalike.catalogue.suspects import Labelled, Suspects, find_suspects, nearest
from lookalike.storage import keys
from lookalike.storage.directory import DirectoryStore
from tests.catalogue.conftest import SMALL, Shop, photos, plain

WAY = "way"


class Row(NamedTuple):
    """One listing; a photo ``x~1`` nearly is the photo ``x``."""

    listing_id: str
    category: str
    photo_id: str
    photo_group: str
    product: str


def listing(number: int, category: str, photo: str = "", product: str = "") -> Row:
    photo = photo or f"photo {number}"
    return Row(f"L{number}", category, photo, photo.split("~")[0], product)


def labelled(rows: list[Row]) -> Labelled:
    photos = pa.array(sorted({x.photo_id for x in rows} | {x.photo_group for x in rows}))
    category = Coded.of([pa.array([x.category for x in rows], pa.string())])
    product = Coded.of([pa.array([x.product for x in rows], pa.string())])
    photo, group = (
        pc.index_in(pa.array(names), photos).to_numpy().astype(np.int32)
        for names in ([x.photo_id for x in rows], [x.photo_group for x in rows])
    )
    ids = pa.array([x.listing_id for x in rows])
    return Labelled(ids, category.codes, photo, group, product.codes, category.values, photos, product.values)


def suspects_of(rows: list[Row], looks: Looks) -> Suspects:
    return find_suspects(labelled(rows), looks)


def looks_of(folder: Path, pictures: NDArray[np.uint8]) -> Looks:
    """Of photos named ``photo 0`` and so on: uint8[n, 16, 16, 3]."""
    store = DirectoryStore(folder / "store")
    large = pictures.repeat(2, axis=1).repeat(2, axis=2)
    add_prints(store, WAY, [f"photo {at}" for at in range(len(large))], np.stack([large, large], axis=1))
    return Looks(store, folder / "cache", WAY, Prints.open(store, folder / "cache", WAY))


def pictures(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 255, (count, 16, 16, 3)).astype(np.uint8)


@pytest.fixture
def looks(tmp_path: Path) -> Looks:
    return looks_of(tmp_path, pictures(7))


def test_one_photo_in_two_categories_puts_both_in_doubt(looks: Looks) -> None:
    found = suspects_of([listing(0, "cap", "x"), listing(1, "mug", "x"), listing(2, "mug")], looks)
    assert [(s.listing_id, s.category, s.other, s.evidence) for s in found] == [
        ("L0", "cap", "mug", "same photo"),
        ("L1", "mug", "cap", "same photo"),
    ]


def test_the_majority_of_copies_is_believed(looks: Looks) -> None:
    listings = [listing(i, "mug" if i else "cap", f"x~{i}") for i in range(4)]
    found = suspects_of(listings, looks)
    assert [(s.listing_id, s.other, s.evidence) for s in found] == [("L0", "mug", "nearly the same photo")]


def test_a_product_that_says_otherwise(looks: Looks) -> None:
    listings = [listing(i, "mug" if i else "cap", product="p") for i in range(5)]
    listings += [listing(5, "cap", product="q"), listing(6, "mug", product="q")]  # two are no majority
    found = suspects_of(listings, looks)
    assert [(s.listing_id, s.other, s.evidence) for s in found] == [("L0", "mug", "same product")]


def test_a_photo_that_looks_like_another_category(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    x = np.arange(16)
    upright, lying = (np.sin(x * 1.2)[None, :], np.sin(x * 1.2)[:, None])
    waves = []
    for i in range(60):
        wave = np.broadcast_to(upright if i < 30 else lying, (16, 16))
        waves.append(128 + 80 * wave[..., None] + rng.normal(0, 12, (16, 16, 3)))
    looks = looks_of(tmp_path, np.stack(waves).clip(0, 255).astype(np.uint8))
    listings = [listing(i, "fence" if i < 30 else "stairs") for i in range(60)]
    assert not suspects_of(listings, looks)
    listings[7] = listing(7, "stairs")
    found = suspects_of(listings, looks)
    assert [(s.listing_id, s.category, s.other, s.evidence) for s in found] == [
        ("L7", "stairs", "fence", "looks")
    ]


def test_neighbours_are_those_of_all_against_all_whatever_was_remembered(tmp_path: Path) -> None:
    """Any sequence of photos that come and go; a third look alike exactly, and some are of one product."""
    base = pictures(120)
    base[::3] = base[0]
    base[1::4] = base[1] // 2 + pictures(120, 1)[1::4] // 8
    looks = looks_of(tmp_path, base)
    rng = np.random.default_rng(7)
    numbers = np.argsort(rng.random(120)).astype(np.uint64) * np.uint64(977)  # items, by photo
    sets = rng.integers(0, 60, 120)
    there = set(range(40))
    for step in range(8):
        there ^= set(rng.choice(120, 2 if step % 2 else 30, replace=False).tolist())
        photos = sorted(there, key=lambda at: int(numbers[at]))
        items, own = numbers[photos], sets[photos]
        shown = looks.described([f"photo {at}" for at in photos])
        found = looks.nearest(items, own, shown)
        likeness = shown.astype(np.int64) @ shown.astype(np.int64).T
        for row in range(len(photos)):
            others = [at for at in range(len(photos)) if own[at] != own[row]]
            expected = sorted(others, key=lambda at: (-likeness[row, at], at))[:NEIGHBOURS]
            assert [at for at in found[row].tolist() if at >= 0] == expected
        known, near = looks._remembered(items)
        assert (known.tolist(), near.tolist()) == (items.tolist(), found.tolist())
    assert len(list(looks._store.list(keys.looks(WAY, 1, "near")))) <= 4


def test_only_what_came_and_went_is_compared() -> None:
    shown = described(pictures(300)).astype(np.float32)
    items, own = np.arange(300, dtype=np.uint64), np.arange(300)
    near = updated(items, own, shown, items[:0], np.zeros((0, NEIGHBOURS), np.int64))
    assert (updated(items, own, shown, items, near) == near).all()
    wrong = near.copy()
    wrong[:, -1] = wrong[:, 0]
    kept = updated(items, own, shown, items, wrong)
    assert (kept == wrong).all(), "what was remembered is looked up, not found out anew"


def test_descriptors_do_not_depend_on_company() -> None:
    some = pictures(40)
    together = described(some)
    assert all((described(some[at : at + 1])[0] == together[at]).all() for at in range(40))


def test_each_listing_of_a_photo_counts(tmp_path: Path) -> None:
    looks = looks_of(tmp_path, pictures(30))
    rng = np.random.default_rng(3)
    chosen = (rng.integers(0, 30, 90) // rng.integers(1, 9, 90)).tolist()
    products = [f"product {number}" if number < 20 else "" for number in rng.integers(0, 40, 90)]
    listings = [
        listing(at, "mug", f"photo {photo}", product)
        for at, (photo, product) in enumerate(zip(chosen, products, strict=True))
    ]
    shown = looks.described([x.photo_id for x in listings]).astype(np.int64)
    likeness = shown @ shown.T
    sets = [x.product or x.photo_group for x in listings]
    for row, near in enumerate(nearest(labelled(listings), looks).tolist()):
        others = [at for at in range(90) if sets[at] != sets[row]]
        assert len({*near}) == NEIGHBOURS
        assert {*near} <= {*others}
        best = sorted((likeness[row, at] for at in others), reverse=True)[:NEIGHBOURS]
        assert [likeness[row, at] for at in near] == best


def test_suspects_of_a_shop_that_grew_are_those_of_a_new_one(shop: Shop, tmp_path: Path) -> None:
    taken = photos(30)
    for number in (0, 1):  # each looks like those of its category
        image = Image.open(io.BytesIO(taken[f"L{number:03d}.jpg"]))
        for at in range(number, 30, 2):
            out = io.BytesIO()
            image.rotate(at / 2).save(out, "JPEG", quality=60 + at)
            taken[f"L{at:03d}.jpg"] = out.getvalue()
    rows = plain(30)
    rows[8]["category"] = "a/y"
    config = replace(SMALL, find_copies=False)
    for there in (rows[:20], rows[2:26], rows[:3] + rows[6:], rows):
        shop.write(there, taken)
        grown = shop.curate(config)
    (tmp_path / "new").mkdir()
    new = Shop(tmp_path / "new")
    new.write(rows, taken)
    assert new.curate(config).report["rows"]["suspects"] == grown.report["rows"]["suspects"]
    assert [(x["listing_id"], x["evidence"]) for x in grown.report["rows"]["suspects"]] == [("L008", "looks")]
