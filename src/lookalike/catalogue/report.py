"""What curation tells: `report.json`, for programs; `report_page` makes `report.html` of it, for people.

It holds no time and no path of a cache.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lookalike.catalogue.categories import CategoryPlan
from lookalike.catalogue.listings import Catalogue, LeftOut
from lookalike.catalogue.pictures import Pictured
from lookalike.catalogue.snapshot import REPORT
from lookalike.catalogue.splits import Splits
from lookalike.catalogue.stock import StockPhoto
from lookalike.catalogue.suspects import Suspect
from lookalike.catalogue.tally import Tally
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.objects import ObjectStore
from lookalike.strict_json import plain

REPORT_FORMAT = 1
MOST_ROWS = 10_000
"""Rows of a list in `report.json`, at most; the counts beside it are always of all."""


@dataclass(frozen=True)
class Findings:
    """All that a report is made from."""

    catalogue: Catalogue
    kept: Sequence[Pictured]
    """By listing id; `splits.split` runs beside it."""
    categories: Sequence[str]
    plan: CategoryPlan
    splits: Splits
    left_out: Sequence[LeftOut]
    lost: Sequence[LeftOut]
    """Photos of kept listings that cannot be used."""
    tally: Tally
    stock: Sequence[StockPhoto]
    near_pairs: Sequence[tuple[str, str]]
    suspects: Sequence[Suspect]
    photo_bytes: int


def report_json(found: Findings) -> bytes:
    """Counts, and lists of at most `MOST_ROWS` rows."""
    splits = found.splits.split
    by_category: dict[str, Counter[str]] = defaultdict(Counter)
    photos: dict[str, set[str]] = defaultdict(set)
    for x, split in zip(found.kept, splits, strict=True):
        category = found.plan.becomes[x.listing.category]
        by_category[category][split] += 1
        photos[category].update(x.photo_ids)
    photos_of = Counter(photo_id for x in found.kept for photo_id in x.photo_ids)
    sharing = [x for x in found.kept if any(photos_of[photo_id] > 1 for photo_id in x.photo_ids)]
    listings = [x.listing for x in found.kept]
    body = {
        "format": REPORT_FORMAT,
        "catalogue": {
            "digest": found.catalogue.digest,
            "ignored_columns": list(found.catalogue.ignored_columns),
            "preset": found.catalogue.preset,
            "notes": list(found.catalogue.notes),
            "rows": found.tally.rows,
        },
        "kept": {
            "listings": len(listings),
            "photos": len(photos_of),
            "photo_bytes": found.photo_bytes,
            "categories": len(found.categories),
            "products": len({x.product for x in listings if x.product}),
            "sellers": len({x.seller for x in listings if x.seller}),
            "priced": found.tally.priced,
        },
        "tally": found.tally.to_json(),
        "left_out": {
            "listings": sum(row.rows for row in found.left_out),
            "by_reason": {reason: count.rows for reason, count in found.tally.left_out.items()},
        },
        "splits": _counted(splits),
        "categories": [
            {
                "category": category,
                "listings": by_category[category].total(),
                "photos": len(photos[category]),
                "splits": dict(sorted(by_category[category].items())),
                "merged_from": list(found.plan.merged.get(category, ())),
            }
            for category in found.categories
        ],
        "categories_left_out": list(found.plan.left_out),
        "duplicates": {
            "photos_of_several_listings": sum(n > 1 for n in photos_of.values()),
            "listings_sharing_a_photo": len(sharing),
            "near_pairs": len(found.near_pairs),
        },
        "stock_photos": [asdict(photo) for photo in found.stock[:MOST_ROWS]],
        "leaks": len(found.splits.leaks),
        "ties": {
            "by": list(found.splits.ties),
            "groups": found.splits.groups,
            "largest": found.splits.largest,
        },
        "suspects": _counted(x.evidence for x in found.suspects),
        "rows": {
            "left_out": [asdict(row) for row in found.left_out[:MOST_ROWS]],
            "photos_left_out": [asdict(row) for row in found.lost[:MOST_ROWS]],
            "near_pairs": [list(pair) for pair in found.near_pairs[:MOST_ROWS]],
            "leaks": [listings[place].listing_id for place in found.splits.leaks[:MOST_ROWS]],
            "suspects": [asdict(suspect) for suspect in found.suspects[:MOST_ROWS]],
        },
    }
    return json.dumps(plain(body), indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def plan_in(report: Path) -> CategoryPlan:
    """The plan of categories that a `report.json` tells of."""
    body = json.loads(report.read_bytes())
    merged = {row["category"]: tuple(row["merged_from"]) for row in body["categories"] if row["merged_from"]}
    becomes = {row["category"]: row["category"] for row in body["categories"]}
    becomes |= {
        child: parent for parent, children in merged.items() for child in children if child not in merged
    }
    return CategoryPlan(becomes, merged, tuple(body["categories_left_out"]))


def read_tally(store: ObjectStore, ref: Ref, cache_dir: Path) -> Tally:
    """What became of the rows of the catalogue that a curated snapshot was made from."""
    path = fetch(store, ref, cache_dir, [REPORT]).path(REPORT)
    return Tally.from_report(json.loads(path.read_bytes()))


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(words).items(), key=lambda item: (-item[1], item[0])))
