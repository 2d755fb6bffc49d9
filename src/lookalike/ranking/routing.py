"""Which categories to open: the smallest set whose calibrated probabilities reach a mass.

The paper opens a fixed number of top categories. With probabilities that mean what they say (temperature scaling,
`quality.calibration`), a sure photo opens one category and an unsure one several, and the mass is the chance that
the right one is among them: the only place in a search where recall is given up for speed.

No probability leads to a category that the model was not trained on: one that is new since, or was too small then. Its
listings are scanned for every photo, so that they are found by their look until the model knows them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.listings import Summary
from lookalike.ranking.request import RankingConfig, SearchRequest, expand_categories


class Router:
    """Chooses the categories that a query opens, of the model's `categories` and those that an index has."""

    def __init__(self, categories: Sequence[str], summary: Summary, config: RankingConfig) -> None:
        self._categories, self._rows, self._config = categories, summary.rows, config
        self._present = np.array([category in summary.rows for category in categories])
        learned = frozenset(categories)
        self.unlearned = tuple(category for category in summary.rows if category not in learned)
        """Categories of the index that the model was not trained on."""

    def open(self, query: EncodedQuery, request: SearchRequest) -> tuple[str, ...]:
        """Leaf categories, likeliest first, those that the model does not know last. Raises `QueryError`."""
        barred = self.barred(request)
        if request.categories:
            wanted = expand_categories(request.categories, self._rows)
            return tuple(category for category in wanted if category not in barred)
        if request.everything or query.own_category in barred:
            return tuple(category for category in self._rows if category not in barred)
        if query.own_category in self.unlearned:
            return (query.own_category,)
        config, present = self._config, self._present
        if barred:
            present = present & np.array([category not in barred for category in self._categories])
        indices = open_categories(
            query.probabilities,
            present,
            mass=config.probability_mass,
            at_least=config.minimum_categories,
            at_most=config.maximum_categories,
        )
        unlearned = tuple(category for category in self.unlearned if category not in barred)
        likeliest = tuple(self._categories[i] for i in indices)
        return likeliest + (unlearned if config.unlearned and query.own_category is None else ())

    def barred(self, request: SearchRequest) -> frozenset[str]:
        """The leaf categories that a request does not want. Raises `QueryError`."""
        return frozenset(expand_categories(request.categories_not, self._rows))


def open_categories(
    probabilities: np.ndarray, present: np.ndarray, *, mass: float, at_least: int, at_most: int
) -> np.ndarray:
    """Indices i64[m] of the categories to open, likeliest first, ties by index.

    `probabilities` f32[C]; `present` bool[C] says which categories have any rows: the others are never opened, and
    the mass is counted among those present. `at_most` 0 is no limit. Empty where nothing is present.
    """
    candidates = np.flatnonzero(present)
    shares = probabilities[candidates].astype(np.float64)
    order = np.argsort(-shares, kind="stable")
    total = shares.sum()
    if total > 0:
        reached = np.cumsum(shares[order]) >= mass * total - 1e-9
        needed = int(reached.argmax()) + 1 if reached.any() else len(order)
    else:
        needed = len(order)
    if mass >= 1:
        needed = len(order)
    limit = at_most or len(order)
    return candidates[order[: max(min(needed, limit), at_least)]]
