"""Ranking quality, with a defined order among ties.

What enters are distances (smaller is nearer) from each query to each gallery row, and which rows are relevant.
Equal distances are ordered by gallery position, so a gallery sorted by listing id gives numbers that anybody can
repeat; left to the sort's mood, they move by one or two points. Rows that a query must not be credited for (its
own photo, say) are excluded before ranking. Numpy alone.

Definitions, per query and then averaged: precision@k = relevant in the first k / k; recall@k = relevant in the first
k / relevant rows; success@k = 1 where the first k hold a relevant row; average precision = mean over the relevant
rows of the precision at their rank (Manning, Raghavan, Schütze: Introduction to Information Retrieval, 8.4). Queries
without a relevant row do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RankingQuality:
    """Means over the queries that have a relevant row; every value is a fraction of 1."""

    queries: int
    mean_average_precision: float
    precision_at: dict[int, float]
    recall_at: dict[int, float]
    success_at: dict[int, float]

    def to_json(self) -> dict[str, object]:
        return {
            "queries": self.queries,
            "mAP": self.mean_average_precision,
            "precision": {str(k): v for k, v in self.precision_at.items()},
            "recall": {str(k): v for k, v in self.recall_at.items()},
            "success": {str(k): v for k, v in self.success_at.items()},
        }


def top_k_accuracy(scores: NDArray[np.floating], truth: NDArray[np.integer], k: int) -> float:
    """Fraction of rows of `scores` [n, classes] whose true class is among the k highest; ties by class number."""
    if len(truth) == 0:
        return float("nan")
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def rank_relevance(
    distances: NDArray[np.number],
    relevant: NDArray[np.bool_],
    excluded: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Relevance of the gallery rows in ranked order, bool [queries, gallery]; excluded rows come last as irrelevant.

    `distances`, `relevant` and `excluded` are [queries, gallery]; the gallery is in the order that breaks ties.
    """
    if excluded is not None:
        distances = np.where(excluded, np.inf, distances)
        relevant = relevant & ~excluded
    order = np.argsort(distances, axis=1, kind="stable")
    return np.take_along_axis(relevant, order, axis=1)


def average_precision(ranked: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average precision of each row of `ranked` [queries, gallery]; NaN where a row has no relevant entry."""
    hits = np.cumsum(ranked, axis=1, dtype=np.int64)
    precision = hits / np.arange(1, ranked.shape[1] + 1)
    found = ranked.sum(axis=1)
    with np.errstate(invalid="ignore"):
        mean: NDArray[np.float64] = (precision * ranked).sum(axis=1) / np.where(found > 0, found, np.nan)
    return mean


def precision_at_k(ranked: NDArray[np.bool_], k: int) -> NDArray[np.float64]:
    """Precision@k of each row of `ranked`; a gallery shorter than k counts as filled up with irrelevant rows."""
    values: NDArray[np.float64] = ranked[:, :k].sum(axis=1) / k
    return values


def recall_at_k(
    ranked: NDArray[np.bool_], k: int, relevant: NDArray[np.integer] | None = None
) -> NDArray[np.float64]:
    """Recall@k of each row of `ranked`; `relevant` [queries] gives the totals where `ranked` is cut short."""
    total = ranked.sum(axis=1) if relevant is None else relevant
    with np.errstate(invalid="ignore"):
        values: NDArray[np.float64] = ranked[:, :k].sum(axis=1) / np.where(total > 0, total, np.nan)
    return values


def ranking_quality(
    ranked: NDArray[np.bool_],
    ks: Sequence[int] = (1, 10, 100),
    relevant: NDArray[np.integer] | None = None,
) -> RankingQuality:
    """All measures of `ranked` [queries, depth]. With `relevant` totals, mAP is that of the list cut at its depth."""
    total = ranked.sum(axis=1) if relevant is None else np.asarray(relevant)
    counted = total > 0
    ranked, total = ranked[counted], total[counted]
    if len(ranked) == 0:
        nan = float("nan")
        none = dict.fromkeys(ks, nan)
        return RankingQuality(0, nan, none, none, none)
    found = ranked.sum(axis=1)
    precision = np.nan_to_num(average_precision(ranked)) * found / np.minimum(total, ranked.shape[1])
    return RankingQuality(
        queries=len(ranked),
        mean_average_precision=float(precision.mean()),
        precision_at={k: float(precision_at_k(ranked, k).mean()) for k in ks},
        recall_at={k: float(recall_at_k(ranked, k, total).mean()) for k in ks},
        success_at={k: float(ranked[:, :k].any(axis=1).mean()) for k in ks},
    )


def pooled_quality(parts: Sequence[RankingQuality]) -> RankingQuality:
    """The quality over all queries, of that of each part of them; at least one part, all with the same ks."""
    weights = [part.queries for part in parts]
    if not sum(weights):
        return parts[0]

    def mean(values: Sequence[float]) -> float:
        return math.fsum(w * v for w, v in zip(weights, values, strict=True) if w) / sum(weights)

    precision, recall, success = (
        {k: mean([getattr(part, name)[k] for part in parts]) for k in getattr(parts[0], name)}
        for name in ("precision_at", "recall_at", "success_at")
    )
    average = mean([part.mean_average_precision for part in parts])
    return RankingQuality(sum(weights), average, precision, recall, success)


def bootstrap_interval(
    values: NDArray[np.floating], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of the mean of `values` [n], n at least 1: percentiles of the means of `resamples` draws of n.

    Drawn a million places at a time, so memory does not grow with n.
    """
    rng = np.random.default_rng(seed)
    at_once = max(1, 1_000_000 // len(values))
    means = [
        values[rng.integers(0, len(values), (min(at_once, resamples - start), len(values)))].mean(axis=1)
        for start in range(0, resamples, at_once)
    ]
    low, high = np.percentile(np.concatenate(means), (2.5, 97.5))
    return float(low), float(high)
