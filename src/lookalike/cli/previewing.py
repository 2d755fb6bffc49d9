"""What `lookalike curate --dry-run` shows: the first rows of a catalogue as they are understood.

A `Catalogue` of the first rows enters; a table for a person, or the one JSON object of `--json`, leaves. Whether photos
are there is looked up for the rows that are shown.
"""

from __future__ import annotations

import shlex
from collections import Counter
from typing import Any

from rich.markup import escape

from lookalike.catalogue.listings import Catalogue, Listing
from lookalike.catalogue.tally import by_reason, mending, spoken
from lookalike.cli.output import Output

SHOWN = 8
_LONGEST = 40


def show_preview(out: Output, catalogue: Catalogue, most_rows: int) -> None:
    """`most_rows` is how many rows were read at most."""
    shown = [_row(catalogue, listing) for listing in catalogue.listings[:SHOWN]]
    rows = sum(x.rows for x in catalogue.listings) + sum(x.rows for x in catalogue.left_out)
    categories = Counter(x.category for x in catalogue.listings)
    left_out = by_reason(catalogue.left_out)
    unclear = Counter(name for x in catalogue.listings for name in x.unclear)
    told = {
        "catalogue": catalogue.uri,
        "preset": catalogue.preset,
        "rows_read": rows,
        "all_rows": rows < most_rows,
        "listings": len(catalogue.listings),
        "first": shown,
        "categories": dict(categories.most_common(20)),
        "aspects": list(catalogue.aspects),
        "ignored_columns": list(catalogue.ignored_columns),
        "left_out": {reason: count.rows for reason, count in left_out.items()},
        "unclear": dict(unclear),
        "notes": list(catalogue.notes),
    }
    by = f" by the preset {catalogue.preset}" if catalogue.preset else ""
    which = "all" if rows < most_rows else "the first"
    lines = [
        f"[bold]{escape(catalogue.uri)}[/bold], {which} {rows:,} rows{by}: {len(catalogue.listings):,} listings"
    ]
    for entry in shown:
        lines.append(f"[bold]{escape(entry['listing_id'])}[/bold] in {escape(entry['category'])}")
        lines.append(f"  photos: {escape(_photos(entry['photos']))}")
        lines += [
            f"  {name}: {escape(_short(value))}"
            for name, value in entry.items()
            if value not in (None, "", {}) and name not in ("listing_id", "category", "photos")
        ]
    most = ", ".join(f"{name} {count:,}" for name, count in categories.most_common(5))
    lines.append(f"categories: {len(categories):,}, the largest: {escape(most)}")
    if catalogue.ignored_columns:
        unused, first = ", ".join(catalogue.ignored_columns), catalogue.ignored_columns[0]
        mapped = f"aspect_{first.strip().lower().replace(' ', '_')}={first}"
        lines.append(
            f"columns without a use: {escape(_short(unused, 200))}; one as an aspect: "
            f"--column {escape(shlex.quote(mapped))}"
        )
    if left_out:
        lines.append(f"left out: {escape(spoken(left_out, catalogue.unit) + mending(left_out))}")
    if unclear:
        lines.append(
            f"not understood, left empty: {', '.join(f'{name} {n:,}' for name, n in unclear.items())}"
        )
    lines += [f"note: {escape(note)}" for note in catalogue.notes]
    out.result(told, "\n".join(lines))


def _row(catalogue: Catalogue, listing: Listing) -> dict[str, Any]:
    return {
        "listing_id": listing.listing_id,
        "category": listing.category,
        "title": listing.title,
        "price": listing.price,
        "split": listing.split,
        "product": listing.product,
        "seller": listing.seller,
        **listing.further,
        "aspects": {name: list(values) for name, values in listing.aspects.items()},
        "photos": {image: catalogue.has_photo(image) for image in listing.images},
    }


def _photos(photos: dict[str, bool]) -> str:
    return ", ".join(f"{image}{'' if found else ' (missing)'}" for image, found in photos.items())


def _short(value: Any, longest: int = 2 * _LONGEST) -> str:
    if isinstance(value, dict):
        value = "; ".join(f"{name} {', '.join(values)}" for name, values in value.items())
    text = " ".join(str(value).split())
    return text if len(text) <= longest else text[: longest - 1] + "…"
