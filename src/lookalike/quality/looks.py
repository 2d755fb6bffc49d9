"""Whether what is found looks like what was photographed, judged by what the catalogue states.

Enters: the answers to labelled query photos and the labels of the gallery. Leaves, for all queries and apart for those
whose product was *learned* from (it has a listing in the training split) and for *new* ones:

- how often the first hit is the product, the *variant* (product and main colour) or the very listing;
- how many of their listings are among the first ten;
- for each aspect, the share of the first eight hits *of other products* that agree with the query, and the share that
  are of its category, too (an orange cap does not answer an orange lamp). Beside them two numbers that say what the
  second is worth: the *base rate*, which random listings of the category would have, and the *best*, which a perfect
  search of it would have.

Two listings agree in an aspect where they state a value in common. Listings that do not state it are skipped. Intervals
are 95 % bootstrap intervals over the queries (Efron 1979, percentile method) with a fixed seed.

Held per query: its two answers and one float per measure. Held per listing: its `Labels` and 8 bytes per aspect.
Listings of one category are looked at for one query at a time, so nothing grows with queries x listings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.quality.gallery import Gallery
from lookalike.quality.labels import Labels, Stated
from lookalike.quality.metrics import bootstrap_interval
from lookalike.quality.queries import Queries
from lookalike.ranking.request import Answer

FIRST = 8
"""Hits of other products that are compared with the query."""
RECALL = 10
ALL, LEARNED, NEW = "all", "learned", "new"
_NONE = np.empty(0, np.int64)


def look_quality(
    listed: Sequence[Answer],
    shown: Sequence[Answer],
    queries: Queries,
    gallery: Gallery,
    first: Sequence[Answer | None] | None = None,
    *,
    grouped: bool = True,
) -> dict[str, Any]:
    """The measures as JSON: ``measures`` and ``agreement``, by name, each by column (`ALL`, `LEARNED`, `NEW`).

    `listed` are the answers before grouping, which recall counts; `shown` those that a shopper sees. `first` are the
    answers to queries that are another photo of a listing, asked without leaving that listing out. A measure that no
    query can be judged by is left out, and so is a column. Where the search shows a product once (`grouped`), base rate
    and best count as it does.
    """
    columns, members = _columns(queries, gallery.labels), _members(gallery)
    measures = _finding(listed, shown, queries, gallery) | _own_listing(queries, first)
    result: dict[str, Any] = {
        "first": FIRST,
        "queries": {name: int(rows.sum()) for name, rows in columns.items()},
        "measures": {name: _measured(values, columns) for name, values in measures.items()},
        "agreement": {},
    }
    for name, (aspect, stated) in gallery.labels.judged().items():
        main = name != aspect
        stating = {category: rows[stated.by(rows)] for category, rows in members.items()}
        found = _agreement(shown, queries, gallery, aspect, stated, stating, main=main, grouped=grouped)
        by_column = _measured(found[:, 0], columns)
        for column, measured in by_column.items():
            counted = found[columns[column] & ~np.isnan(found[:, 0]), 1:].mean(axis=0)
            measured |= dict(zip(("in_category", "base", "best"), counted.tolist(), strict=True))
        result["agreement"][name] = by_column
    for part in ("measures", "agreement"):
        result[part] = {name: by_column for name, by_column in result[part].items() if by_column}
    return result


def _columns(queries: Queries, labels: Labels) -> dict[str, NDArray[np.bool_]]:
    named = np.array([bool(listing.product) for listing in queries.listings])
    learned = np.array([listing.product in labels.learned for listing in queries.listings])
    return {ALL: np.ones(len(named), bool), LEARNED: named & learned, NEW: named & ~learned}


def _measured(
    values: NDArray[np.float64], columns: Mapping[str, NDArray[np.bool_]]
) -> dict[str, dict[str, float]]:
    """Mean and interval of the queries that count (not NaN), by column."""
    found: dict[str, dict[str, float]] = {}
    for name, rows in columns.items():
        counted = values[rows & ~np.isnan(values)]
        if len(counted):
            low, high = bootstrap_interval(counted)
            found[name] = {"queries": len(counted), "value": float(counted.mean()), "low": low, "high": high}
    return found


def _finding(
    listed: Sequence[Answer], shown: Sequence[Answer], queries: Queries, gallery: Gallery
) -> dict[str, NDArray[np.float64]]:
    """Whether product and variant come first, and recall of both; NaN where the gallery has nothing to find."""
    labels = gallery.labels
    of_product = _rows_by_product(labels)
    mains = {name: labels.aspects[name].main() for name in labels.colours()}
    names = ("product first", "variant first", "product recall@10", "variant recall@10")
    found = {name: np.full(len(shown), np.nan) for name in names}
    for i, listing in enumerate(queries.listings):
        relevant = of_product.get(labels.product_numbers.get(listing.product, -1), _NONE)
        relevant = relevant[~np.isin(relevant, gallery.own(i))]
        colour = next((name for name in mains if listing.aspects.get(name)), None)
        sought = {"product": relevant}
        if colour is not None:
            same = mains[colour].any_of(listing.aspects[colour][:1], relevant)
            sought["variant"] = relevant[same]
        top, ten = gallery.rows(shown[i])[:1], gallery.rows(listed[i])[:RECALL]
        for name, rows in sought.items():
            if len(rows):
                found[f"{name} first"][i] = np.isin(top, rows).any()
                found[f"{name} recall@10"][i] = np.isin(ten, rows).sum() / len(rows)
    return found


def _rows_by_product(labels: Labels) -> dict[int, NDArray[np.int64]]:
    order = np.argsort(labels.products, kind="stable")
    numbers, starts = np.unique(labels.products[order], return_index=True)
    rows = dict(zip(map(int, numbers), np.split(order, starts[1:]), strict=True))
    rows.pop(-1, None)  # listings that name no product
    return rows


def _own_listing(queries: Queries, first: Sequence[Answer | None] | None) -> dict[str, NDArray[np.float64]]:
    if first is None:
        return {}
    values = [
        np.nan if answer is None else float(any(hit.listing_id == own.listing_id for hit in answer.hits[:1]))
        for own, answer in zip(queries.listings, first, strict=True)
    ]
    return {"listing first": np.array(values)}


def _members(gallery: Gallery) -> dict[str, NDArray[np.int64]]:
    """The rows of each category."""
    order = np.argsort(gallery.categories, kind="stable")
    bounds = np.searchsorted(gallery.categories[order], np.arange(1, len(gallery.category_names)))
    return dict(zip(gallery.category_names, np.split(order, bounds), strict=True))


def _agreement(
    shown: Sequence[Answer],
    queries: Queries,
    gallery: Gallery,
    aspect: str,
    stated: Stated,
    stating: Mapping[str, NDArray[np.int64]],
    *,
    main: bool,
    grouped: bool,
) -> NDArray[np.float64]:
    """(share, share in the category, base rate, best) of each query, f64[queries, 4].

    `stating` are the rows of each category that state the aspect. NaN where the query does not, or no other product of
    its category does.
    """
    found = np.full((len(shown), 4), np.nan)
    for i, listing in enumerate(queries.listings):
        values = listing.aspects.get(aspect, ())[: 1 if main else None]
        there = gallery.others(stating.get(str(queries.categories[i]), _NONE), i, listing.product)
        if not values or not len(there):
            continue
        hits = gallery.rows(shown[i])
        hits = gallery.others(hits[stated.by(hits)], i, listing.product)[:FIRST]
        agree = stated.any_of(values, hits)
        near = agree & (gallery.categories[hits] == gallery.categories[there[0]])
        shares = (agree.mean(), near.mean()) if len(hits) else (0.0, 0.0)
        groups = _groups(gallery.labels, there) if grouped else np.arange(len(there))
        found[i] = *shares, *_chance_and_best(stated.any_of(values, there), groups)
    return found


def _groups(labels: Labels, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of what each row is shown as, 0 to n - 1."""
    numbers: NDArray[np.int64] = np.unique(labels.groups[rows], return_inverse=True)[1]
    return numbers


def _chance_and_best(agree: NDArray[np.bool_], groups: NDArray[np.int64]) -> tuple[float, float]:
    """Of a category's listings: the share of groups that agree, and of the best eight of them.

    A group may be shown by any of its listings: by chance it agrees as often as they do, at best if one of them does.
    """
    sizes = np.bincount(groups)
    chances = np.bincount(groups, agree) / sizes
    agreeing = int((chances > 0).sum())
    return float(chances.mean()), min(FIRST, agreeing) / min(FIRST, len(sizes))
