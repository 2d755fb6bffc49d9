"""Stock photos: placeholders, size charts and logos, which many products share and which show none of them.

A photo, or near copies of it, counts as one where more than `MOST_SHARING` products show it; or more than so many
listings that name no product, if they stand in several categories. The sizes of one shirt are listings that share a
photo, too, but in one category: that photo shows the shirt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.facts import Facts
from lookalike.catalogue.pictures import Pictured
from lookalike.catalogue.shelf import Places

MOST_SHARING = 20


@dataclass(frozen=True, slots=True)
class StockPhoto:
    """One of them, with its near copies."""

    photo_ids: tuple[str, ...]
    """Sorted."""
    listings: int
    products: int
    """That name themselves."""
    categories: int


def find_stock(
    pictured: Pictured, facts: Facts, groups: Places, photo_ids: pa.StringArray
) -> tuple[list[StockPhoto], NDArray[np.bool_]]:
    """Stock photos, those of most listings first, and which photos these are. `groups` is each photo's group of near
    copies: the first of them."""
    owner, group = pictured.owners, groups[pictured.photos]
    if len(owner) > len(pictured.rows):
        owner, group = _each_once(owner, group)
    often = np.bincount(group, minlength=len(groups)) > MOST_SHARING
    chosen = np.flatnonzero(often[group])
    rows, group = pictured.rows[owner[chosen]], group[chosen]
    del owner, chosen
    product, category = facts.product.codes[rows], facts.category.codes[rows]
    named = product >= 0
    shown_by = np.bincount(group, minlength=len(groups))
    nameless = np.bincount(group[~named], minlength=len(groups))
    products = np.bincount(_each_once(product[named], group[named])[1], minlength=len(groups))
    categories = np.bincount(_each_once(category, group)[1], minlength=len(groups))
    stock = (products > MOST_SHARING) | ((nameless > MOST_SHARING) & (categories > 1))
    shown = np.zeros(len(groups), bool)
    shown[pictured.photos] = True
    shared = shown & stock[groups]
    members = np.flatnonzero(shared)
    members = members[np.argsort(groups[members], kind="stable")]
    numbers, starts = np.unique(groups[members], return_index=True)
    found = []
    for number, own in (
        zip(numbers.tolist(), np.split(members, starts[1:]), strict=True) if len(numbers) else ()
    ):
        ids = tuple(photo_ids.take(pa.array(own)).to_pylist())
        counts = (shown_by[number], products[number], categories[number])
        found.append(StockPhoto(ids, *map(int, counts)))
    return sorted(found, key=lambda x: (-x.listings, x.photo_ids)), shared


def _each_once(one: Places, other: Places) -> tuple[Places, Places]:
    """Pairs, each once."""
    width = int(other.max(initial=0)) + 1
    numbers = np.unique(one.astype(np.int64) * width + other)
    return (numbers // width).astype(np.int32), (numbers % width).astype(np.int32)
