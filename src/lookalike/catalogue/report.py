"""What curation tells: `report.json`, for programs; `report_page` makes `report.html` of it, for people.

It holds no time and no path of a cache.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.categories import CategoryPlan
from lookalike.catalogue.kept import Kept, distinct
from lookalike.catalogue.listings import Catalogue, Losses
from lookalike.catalogue.snapshot import REPORT
from lookalike.catalogue.stock import StockPhoto
from lookalike.catalogue.suspects import Suspects
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
    kept: Kept
    plan: CategoryPlan
    left_out: Losses
    lost: Losses
    """Photos of kept listings that cannot be used."""
    tally: Tally
    stock: Sequence[StockPhoto]
    near: NDArray[np.int64]
    """int64[m, 2]: numbers of photos that show the same picture, the first one and another."""
    suspects: Suspects
    photo_bytes: int


def report_json(found: Findings) -> bytes:
    """Counts, and lists of at most `MOST_ROWS` rows."""
    kept, splits = found.kept, found.kept.splits
    photos_of = kept.showing()
    several = photos_of[kept.pictured.photos] > 1
    sharing = len(np.unique(kept.pictured.owners[several]))
    by_category, photos = kept.sides_by_category(), kept.photos_by_category()
    near = found.near[:MOST_ROWS]
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
            "listings": len(kept),
            "photos": int(np.count_nonzero(photos_of)),
            "photo_bytes": found.photo_bytes,
            "categories": len(kept.categories),
            "products": distinct(kept.product),
            "sellers": distinct(kept.seller),
            "priced": found.tally.priced,
        },
        "tally": found.tally.to_json(),
        "left_out": {
            "listings": found.left_out.counted,
            "by_reason": {reason: count.rows for reason, count in found.tally.left_out.items()},
        },
        "splits": _counted(_named(kept.sides, by_category.sum(axis=0))),
        "categories": [
            {
                "category": category,
                "listings": int(by_category[at].sum()),
                "photos": int(photos[at]),
                "splits": dict(sorted(_named(kept.sides, by_category[at]).items())),
                "merged_from": list(found.plan.merged.get(category, ())),
            }
            for at, category in enumerate(kept.categories)
        ],
        "categories_left_out": list(found.plan.left_out),
        "duplicates": {
            "photos_of_several_listings": int((photos_of > 1).sum()),
            "listings_sharing_a_photo": sharing,
            "near_pairs": len(found.near),
        },
        "stock_photos": [asdict(photo) for photo in found.stock[:MOST_ROWS]],
        "leaks": len(splits.leaks),
        "ties": {
            "by": list(splits.ties),
            "groups": splits.groups,
            "largest": splits.largest,
        },
        "suspects": _counted(found.suspects.counts()),
        "rows": {
            "left_out": [asdict(row) for row in found.left_out[:MOST_ROWS]],
            "photos_left_out": [asdict(row) for row in found.lost[:MOST_ROWS]],
            "near_pairs": [*map(list, zip(*map(kept.photos, near.T), strict=True))],
            "leaks": kept.ids(splits.leaks[:MOST_ROWS]),
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


def _named(names: Sequence[str], counts: NDArray[np.int64]) -> dict[str, int]:
    """Those that there are any of."""
    return {name: count for name, count in zip(names, counts.tolist(), strict=True) if count}


def _counted(counts: Mapping[str, int]) -> dict[str, int]:
    """The most frequent first."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
