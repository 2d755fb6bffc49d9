"""Splits: nothing that is held out hangs together with what is learnt from."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.catalogue.coded import Coded
from lookalike.catalogue.splits import SIDES, Tied, assign_splits
from tests.catalogue.conftest import Shop, photos, plain


@dataclass(frozen=True)
class Row:
    """What one listing hangs together by; empty text ties nothing."""

    photo_groups: tuple[str, ...]
    product: str
    seller: str
    given: str
    category: str
    before: str = ""


class Found(NamedTuple):
    split: list[str]
    leaks: list[int]


def tied(group: str, product: str = "", seller: str = "", split: str = "", category: str = "a") -> Row:
    return Row((group,), product, seller, split, category)


def columns(rows: list[Row]) -> tuple[Tied, list[str]]:
    """The same as columns, and the names of sides."""
    photo_ids = sorted({group for x in rows for group in x.photo_groups})
    place = {name: at for at, name in enumerate(photo_ids)}
    sides = [*SIDES, *sorted({x.given for x in rows} - {"", *SIDES})]
    coded = {
        name: Coded.of([pa.array([getattr(x, name) for x in rows], pa.string())])
        for name in ("product", "seller", "category")
    }
    given, before = (
        np.array([sides.index(side) if side else -1 for side in found], np.int32)
        for found in ([x.given for x in rows], [x.before for x in rows])
    )
    found = Tied(
        np.array([at for at, x in enumerate(rows) for _ in x.photo_groups], np.int32),
        np.array([place[group] for x in rows for group in x.photo_groups], np.int32),
        coded["product"].codes,
        coded["seller"].codes,
        given,
        coded["category"].codes,
        before,
        pa.array(photo_ids, pa.string()),
        pa.array([f"{at:09d}" for at in range(len(rows))], pa.string()),
        coded["product"].values,
        coded["category"].values.to_pylist(),
    )
    return found, sides


def assigned(listings: list[Row], *ties: str, leaks: tuple[str, ...] = ("photo_groups",)) -> Found:
    known, sides = columns(listings)
    found = assign_splits(
        known, ties=ties or ("photo_groups", "product"), leak_ties=leaks, val_share=0.1, test_share=0.1
    )
    return Found([sides[number] for number in found.split], found.leaks.tolist())


def test_shares_are_near_what_was_asked() -> None:
    counts = Counter(assigned([tied(f"photo {i}") for i in range(5000)]).split)
    assert 430 < counts["val"] < 570
    assert 430 < counts["test"] < 570
    assert counts.total() == 5000


def test_a_listing_keeps_its_split_when_the_catalogue_grows() -> None:
    few = [tied(f"photo {i}", f"product {i // 3}") for i in range(300)]
    more = few + [tied(f"new {i}", f"new product {i}") for i in range(300)]
    assert assigned(more).split[:300] == assigned(few).split


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(
            tied,
            group=st.integers(0, 30).map(str),
            product=st.integers(0, 12).map(lambda n: str(n) if n else ""),
            seller=st.integers(0, 4).map(lambda n: str(n) if n else ""),
        ),
        max_size=60,
    )
)
def test_what_hangs_together_stays_together(listings: list[Row]) -> None:
    split = assigned(listings, "photo_groups", "product", "seller").split
    for name in ("photo_groups", "product", "seller"):
        sides = defaultdict(set)
        for listing, side in zip(listings, split, strict=True):
            if getattr(listing, name):
                sides[getattr(listing, name)].add(side)
        assert all(len(found) == 1 for found in sides.values())


def test_products_may_be_parted_when_asked() -> None:
    listings = [tied(f"photo {i}", "one product") for i in range(200)]
    assert len(set(assigned(listings, "photo_groups").split)) == 3
    assert len(set(assigned(listings).split)) == 1


def test_who_has_no_split_joins_those_it_hangs_together_with() -> None:
    listings = [
        tied(f"{side} {i} {view}", f"{side} {i}", split=side if view == 0 else "")
        for side in ("train", "val", "test")
        for i in range(40)
        for view in (0, 1)
    ]
    found = assigned(listings)
    assert found.split == [listing.product.partition(" ")[0] for listing in listings]
    assert found.leaks == []


def test_given_splits_stay_and_their_leaks_leave_training() -> None:
    listings = [
        tied("same", split="val"),
        tied("same", split="train"),
        tied("other", "p", split="train"),
        tied("third", "p", split="test"),
        tied("fourth", split="catalogue"),
        tied("fourth", split="test"),
    ]
    found = assigned(listings)
    assert found.split == ["val", "leak", "train", "test", "catalogue", "test"]
    assert found.leaks == [1]
    by_product = assigned(listings, leaks=("photo_groups", "product"))
    assert by_product.split[2] == "leak"
    assert assigned(listings, leaks=()).split[1] == "train"


def test_listings_without_a_split_join_those_they_hang_together_with() -> None:
    listings = [tied("a", "p"), tied("b", "p", split="test"), tied("c", "q", split="train")]
    assert assigned(listings).split == ["test", "test", "train"]


def test_every_category_is_taught() -> None:
    listings = [tied(f"photo {i}", f"only product of {i}", category=f"category {i}") for i in range(100)]
    found = assigned(listings).split
    assert set(found) == {"train"}


def test_a_listing_keeps_the_side_it_had_and_new_ones_join_their_group() -> None:
    old = [tied(f"photo {i}", f"product {i // 2}") for i in range(600)]
    before = assigned(old).split
    grown = [replace(x, before=side) for x, side in zip(old, before, strict=True)]
    # The group's key is its smallest, so that a newcomer that sorts before all draws another side for its group.
    new = [
        replace(tied(f"photo {i}"), product=f"a {i}", photo_groups=(f"photo {i}", f"a {i}"))
        for i in range(600)
    ]
    drawn = assigned(old + new).split
    assert sum(one != other for one, other in zip(before, drawn, strict=False)) > 60  # without a parent
    kept = assigned(grown + new).split
    assert kept[:600] == before
    assert kept[600:] == before


def test_two_sides_that_a_new_photo_ties_keep_out_of_each_other() -> None:
    one, other = replace(tied("one"), before="train"), replace(tied("other"), before="test")
    bridge = replace(tied("one"), photo_groups=("one", "other"))
    found = assigned([one, other, bridge])
    assert found.split == ["leak", "test", "test"]
    again = [replace(x, before=side) for x, side in zip((one, other, bridge), found.split, strict=True)]
    assert assigned(again).split == found.split
    assert assigned([replace(x, given="val") for x in again]).split == ["val"] * 3


def test_sellers_tie_by_default_unless_one_side_would_be_all(shop: Shop) -> None:
    for number, sellers in ((10, ["photo_groups", "product", "seller"]), (2, ["photo_groups", "product"])):
        shop.write([row | {"seller": f"S{i % number}"} for i, row in enumerate(plain(20))], photos(20))
        snapshot = shop.curate()
        assert snapshot.report["ties"]["by"] == sellers
        page = (shop.store.root / snapshot.artefact.manifest.file("report.html").key).read_text()
        assert ("Sellers tie nothing" in page) == (number == 2)
