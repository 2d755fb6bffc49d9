"""Stock photos: placeholders, size charts and logos, which many products share and which show none of them.

A photo, or near copies of it, counts as one where more than `MOST_SHARING` products show it; or more than so many
listings that name no product, if they stand in several categories. The sizes of one shirt are listings that share a
photo, too, but in one category: that photo shows the shirt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lookalike.catalogue.pictures import Pictured

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


def find_stock(pictured: Sequence[Pictured], photo_group: Mapping[str, str]) -> list[StockPhoto]:
    """Stock photos, those of most listings first. `photo_group` is each photo's group of near copies."""
    photos: dict[str, set[str]] = defaultdict(set)
    listings: dict[str, list[Pictured]] = defaultdict(list)
    for x in pictured:
        for group in {photo_group[photo_id] for photo_id in x.photo_ids}:
            listings[group].append(x)
        for photo_id in x.photo_ids:
            photos[photo_group[photo_id]].add(photo_id)
    found = []
    for group, shown_by in listings.items():
        if len(shown_by) <= MOST_SHARING:
            continue
        products = {x.listing.product for x in shown_by if x.listing.product}
        nameless = [x for x in shown_by if not x.listing.product]
        places = {x.listing.category for x in shown_by}
        if len(products) > MOST_SHARING or (len(nameless) > MOST_SHARING and len(places) > 1):
            found.append(StockPhoto(tuple(sorted(photos[group])), len(shown_by), len(products), len(places)))
    return sorted(found, key=lambda x: (-x.listings, x.photo_ids))
