"""What a listing page shows beyond a hit: the title from the curated snapshot, and everything the index knows.

Enters: listing ids. Leaves: JSON-like dictionaries. Titles are two Arrow columns, sorted by listing id as the curated
snapshot is, so looking one up is a binary search and no dictionary of a million strings is built.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.snapshot import LISTINGS
from lookalike.errors import CorruptObject
from lookalike.index.reader import Partition
from lookalike.ranking.encoded import find_listing
from lookalike.ranking.search import Searcher
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.objects import ObjectStore

_VALUES_LISTED = 100
_EXAMPLES = 24


class Titles:
    """Titles of the listings of one curated snapshot."""

    def __init__(self, store: ObjectStore, curated: Ref, cache_dir: Path) -> None:
        """Raises the errors of fetching, `CorruptObject` where the table is not one."""
        path = fetch(store, curated, cache_dir, [LISTINGS]).path(LISTINGS)
        try:
            table = pq.read_table(path, columns=["listing_id", "title"])
        except (pa.ArrowException, OSError) as error:
            raise CorruptObject(LISTINGS, f"{curated}: {LISTINGS} is not readable: {error}") from error
        table = table.filter(table["title"].is_valid())
        self._ids, self._titles = (table[name].combine_chunks() for name in ("listing_id", "title"))

    def get(self, listing_id: str) -> str | None:
        """The title, or None where the listing has none."""
        row = bisect_left(range(len(self._ids)), listing_id, key=lambda i: self._ids[i].as_py())
        if row == len(self._ids) or self._ids[row].as_py() != listing_id:
            return None
        title: str = self._titles[row].as_py()
        return title


def listing_json(searcher: Searcher, titles: Titles, listing_id: str) -> dict[str, Any] | None:
    """Everything known of one listing, or None where the index has no such listing."""
    place = find_listing(searcher.index, listing_id)
    if place is None:
        return None
    partition, row = place
    price = float(partition.prices[row])
    return {
        "listing_id": listing_id,
        "title": titles.get(listing_id),
        "category": partition.category,
        "price": None if np.isnan(price) else price,
        "photo_id": partition.photo_ids[row].as_py(),
        "group": partition.groups[row].as_py(),
        "aspects": {name: list(values) for name, values in searcher.stated(partition).of_row(row).items()},
    }


def catalogue_json(searcher: Searcher) -> dict[str, Any]:
    """What there is to search for: categories, aspect values and prices, with counts, for the page's filters."""
    index = searcher.index
    counts: dict[str, Counter[str]] = {}
    prices = []
    firsts = [next(p for p in index.partitions(c) if len(p)) for c in index.categories]
    for category in index.categories:
        for partition in index.partitions(category):
            for name, values in searcher.stated(partition).counts().items():
                counts.setdefault(name, Counter()).update(values)
            known = partition.prices[~np.isnan(partition.prices)]
            if len(known):
                prices.append((float(known.min()), float(known.max())))
    return {
        "listings": len(index),
        "categories": {c: sum(len(p) for p in index.partitions(c)) for c in index.categories},
        "aspects": {
            name: dict(sorted(values.items(), key=lambda item: (-item[1], item[0]))[:_VALUES_LISTED])
            for name, values in sorted(counts.items())
        },
        "price": {"from": min(p[0] for p in prices), "to": max(p[1] for p in prices)} if prices else None,
        "examples": [_example(p) for p in firsts[:_EXAMPLES]],
        "release": index.release,
        "index": index.name,
    }


def _example(partition: Partition) -> dict[str, str]:
    """A listing to start from, for who has no photo at hand."""
    return {
        "listing_id": partition.listing_ids[0].as_py(),
        "photo_id": partition.photo_ids[0].as_py(),
        "category": partition.category,
    }
