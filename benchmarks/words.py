"""What a word beside the photo changes: "this in red", for several values of an aspect.

    python -m benchmarks.words --store .demo/store --queries .demo/catalogue/queries.csv --json results.json

Each query photo is asked with each of the values. A category has only some products of a value, so the share is of the
first as many places as it has, ten at most: those that hold a listing which states the value and is of the query's own
category. Beside it stand the share of all first ten that state the value, the share of the query's category among them,
and both without a text. Where a category has ten such products the two shares are the same.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import lookalike
from benchmarks.report import entries, machine, write
from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.request import Answer, Query, SearchRequest
from lookalike.ranking.search import Searcher

SHOWN, BATCH = 10, 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="a store with something live")
    parser.add_argument("--queries", required=True, type=Path, help="CSV with image and category")
    parser.add_argument("--aspect", default="colour")
    parser.add_argument("--values", default="red,blue,green,black,white")
    parser.add_argument("--text", default="this in {}", help="what is asked; {} is the value")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    shop = lookalike.open(options.store)
    with options.queries.open() as file:
        rows = list(csv.DictReader(file))
    results = measure(shop, rows, options)
    write(options.json, before, list(entries(results, {}, {})), data={"queries": len(rows)})


def measure(
    shop: lookalike.Shop, rows: Sequence[dict[str, str]], options: argparse.Namespace
) -> dict[str, dict[str, Any]]:
    """The numbers of each value."""
    photos = [(options.queries.parent / row["image"]).read_bytes() for row in rows]
    searcher, encoded = encode(shop, photos)
    categories = [row["category"] for row in rows]
    stated = {
        row["listing_id"]: set(row[f"aspect_{options.aspect}"] or ()) for row in shop.listings().to_pylist()
    }
    products: dict[tuple[str, str], set[str]] = defaultdict(set)
    for row in shop.listings().to_pylist():
        for value in stated[row["listing_id"]]:
            products[row["category"], value].add(row["group"])
    plain, _ = ask(searcher, encoded, "")
    results = {}
    for value in options.values.split(","):
        answers, milliseconds = ask(searcher, encoded, options.text.format(value))
        places = np.array([min(SHOWN, len(products[category, value])) for category in categories])

        def having(answers: Sequence[Answer], value: str = value) -> float:
            return float(np.mean([value in stated[hit.listing_id] for a in answers for hit in a.hits]))

        fulfilled = [
            sum(value in stated[h.listing_id] and h.category == category for h in answer.hits[:n])
            for answer, category, n in zip(answers, categories, places.tolist(), strict=True)
        ]
        full = places == SHOWN
        results[value] = {
            "places": float(places.mean()),
            "fulfilled_precision": float(np.sum(fulfilled) / places.sum()),
            "queries_of_ten": int(full.sum()),
            "fulfilled_of_ten_precision": float(np.array(fulfilled)[full].mean() / SHOWN)
            if full.any()
            else None,
            "stating_precision": having(answers),
            "stating_without_precision": having(plain),
            "category_precision": of_category(answers, categories),
            "category_without_precision": of_category(plain, categories),
            "rank_ms": milliseconds,
        }
        print(value, results[value], flush=True)
    return results


def encode(shop: lookalike.Shop, photos: Sequence[bytes]) -> tuple[Searcher, list[EncodedQuery]]:
    """The live searcher, and what it sees in the photos."""
    opened = shop._open()
    queries = [Query(photo=square) for square in shop._squares(opened, photos, None)]
    found = [e for i in range(0, len(queries), BATCH) for e in opened.searcher.encode(queries[i : i + BATCH])]
    return opened.searcher, found


def ask(searcher: Searcher, encoded: Sequence[EncodedQuery], text: str) -> tuple[list[Answer], float]:
    """The answers with a text, and milliseconds of ranking a query, one at a time."""
    request, answers = SearchRequest(k=SHOWN, text=text), list[Answer]()
    started = time.perf_counter()
    for query in encoded:
        answers += searcher.rank([query], [request])
    return answers, (time.perf_counter() - started) / len(encoded) * 1e3


def of_category(answers: Sequence[Answer], categories: Sequence[str]) -> float:
    """Share of the hits that are of their query's category."""
    pairs = zip(answers, categories, strict=True)
    return float(np.mean([hit.category == category for answer, category in pairs for hit in answer.hits]))


if __name__ == "__main__":
    main()
