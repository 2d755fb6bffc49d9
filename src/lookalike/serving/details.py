"""What a listing page shows: everything the index knows, and the title where an index of format 1 does not know it.

Enters: listing ids. Leaves: JSON-like dictionaries. Titles of the curated snapshot are two Arrow columns, sorted by
listing id as it is, so looking one up is a binary search and no dictionary of a million strings is built.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Collection
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.snapshot import LISTINGS
from lookalike.columns import own_columns
from lookalike.errors import CorruptObject
from lookalike.ranking.listings import Listings, Summary
from lookalike.storage.artefacts import Artefact

_VALUES_LISTED = 100
_EXAMPLES = 24
_BLOCK = 16
"""Listings between two whose ids are kept as Python strings: most of a binary search is done among these."""


class Titles:
    """Titles of the listings of one curated snapshot."""

    def __init__(self, curated: Artefact) -> None:
        """None are known where the table was not fetched. Raises `CorruptObject` where it is not one."""
        self._ids = self._titles = pa.array([], pa.utf8())
        self._firsts: list[str] = []
        if LISTINGS not in curated.paths:
            return
        try:
            table = pq.read_table(curated.path(LISTINGS), columns=["listing_id", "title"])
        except (pa.ArrowException, OSError) as error:
            raise CorruptObject(LISTINGS, f"{curated.ref}: {LISTINGS} is not readable: {error}") from error
        table = table.filter(table["title"].is_valid())
        self._ids, self._titles = (table[name].combine_chunks() for name in ("listing_id", "title"))
        self._firsts = self._ids[::_BLOCK].to_pylist()

    def get(self, listing_id: str) -> str | None:
        """The title, or None where the listing has none."""
        block = _BLOCK * max(0, bisect_right(self._firsts, listing_id) - 1)
        rows = range(block, min(block + _BLOCK, len(self._ids)))
        row = block + bisect_left(rows, listing_id, key=lambda i: self._ids[i].as_py())
        if row == len(self._ids) or self._ids[row].as_py() != listing_id:
            return None
        title: str = self._titles[row].as_py()
        return title


def listing_json(listings: Listings, titles: Titles, listing_id: str) -> dict[str, Any] | None:
    """Everything known of one listing, or None where the index has no such listing."""
    found = listings.find(listing_id)
    if found is None:
        return None
    listing, _ = found
    return {
        "listing_id": listing_id,
        "category": listing.category,
        "photo_id": listing.photo_id,
        "photo_ordinal": listing.photo_ordinal,
        "photos": list(listing.photos) or [listing.photo_id],
        "group": listing.group,
        **listing.columns,
        "title": listing.columns["title"] or titles.get(listing_id),
        "aspects": {name: list(values) for name, values in listing.aspects.items()},
        "extra": dict(listing.extra),
    }


def catalogue_json(summary: Summary, colour: float | None, unlearned: Collection[str]) -> dict[str, Any]:
    """What there is to search for: categories, aspect values and prices, with counts, for the page's filters.

    `colour` is how much colours count unless a search says otherwise; None where codes have no bits about them.
    `unlearned` are the categories that the model was not trained on.
    """
    low, high = summary.prices or (None, None)
    return {
        "listings": len(summary),
        "categories": dict(summary.rows),
        "unlearned": {category: summary.rows[category] for category in unlearned},
        "aspects": {
            name: dict(sorted(values.items(), key=lambda item: (-item[1], item[0]))[:_VALUES_LISTED])
            for name, values in sorted(summary.values.items())
        },
        "colour": colour,
        "price": {"from": low, "to": high} if summary.prices else None,
        "extra": {
            column.called: (span := summary.own[column.name]) and {"from": span[0], "to": span[1]}
            for column in own_columns(summary.own)
        },
        "examples": [
            {"listing_id": listing_id, "photo_id": photo_id, "category": category}
            for category, (listing_id, photo_id) in islice(summary.examples.items(), _EXAMPLES)
        ],
        "release": summary.release,
        "index": summary.name,
        "delta": summary.delta or None,
    }
