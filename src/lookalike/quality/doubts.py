"""Labels that photos contradict, and photos that stand alone: from features, without a label that vouches for itself.

Features of listings enter in blocks, with the categories that the shop states; scores of every category for every
listing leave, each by a model that saw neither the listing nor anything that shows the same thing. The model is ridge
regression on the square roots of features: it needs sums over listings alone, so memory does not grow with them, and
one pass makes the models of all folds.

A label is doubted where another category's score exceeds its own by `CLEARLY`. Confident learning (Northcutt et al.,
JAIR 2021), for which cleanlab is the well-kept library, counts a label as wrong by thresholds of each category;
`benchmarks/labels.py` measures both. cleanlab itself is under the AGPL, which does not go with this project's licence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FOLDS = 5
CLEARLY = 0.42
"""By which another category's score must exceed the stated one's: a category's own photos score near 1, others near
0. Of 200 labels planted among 4,393 photos of clothes 72 % are above, and 57 % of what is above was planted."""
_RIDGE = 0.3
"""Times the mean variance of a feature; 0.1 and 1 find 4 points less."""
_NEAREST = 5
_DIRECTIONS = 128
_MOST_COMPARED = 20_000
"""Photos that each photo is held against to know whether it stands alone."""
ALONE = 3.0
"""Times the usual spread above the usual distance, at which a photo stands alone: of 1,500 photos of clothes none is
above, of 15 of groceries among them all but two."""

Blocks = Callable[[], Iterable[tuple[NDArray[np.int64], NDArray[np.float32]]]]
"""Gives, as often as it is called, rows of listings and their features f32[m, width]; each row once."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """What features say of n listings, in their order."""

    best: NDArray[np.int64]
    """The category that scores highest of those that are not stated."""
    stated: NDArray[np.float32]
    """The score of the category that is stated."""
    margin: NDArray[np.float32]
    """By how much its score exceeds the stated one's; above `CLEARLY` the label is doubted."""
    distance: NDArray[np.float32]
    """To the nearest other photos, in units of the usual spread above the usual one; above `ALONE` a photo is odd."""


def find_doubts(
    blocks: Blocks, labels: NDArray[np.int64], things: NDArray[np.int64], categories: int
) -> Doubts:
    """`labels` int64[n] below `categories`; listings of equal `things` int64[n] show one thing and prove nothing for
    each other."""
    count = len(labels)
    folds = np.random.default_rng(0).integers(0, FOLDS, int(things.max(initial=0)) + 1)[things]
    models, axes = _fitted(blocks, labels, folds, categories)
    best, margin = np.zeros(count, np.int64), np.zeros(count, np.float32)
    own_score = np.zeros(count, np.float32)
    flat = np.zeros((count, axes.shape[1]), np.float32)
    for rows, features in blocks():
        roots = _roots(features)
        scores = np.empty((len(rows), categories), np.float32)
        for fold in np.unique(folds[rows]):
            own = folds[rows] == fold
            scores[own] = roots[own] @ models[fold][:-1] + models[fold][-1]
        stated = scores[np.arange(len(rows)), labels[rows]].copy()
        scores[np.arange(len(rows)), labels[rows]] = -np.inf
        best[rows], own_score[rows] = scores.argmax(axis=1), stated
        margin[rows] = scores.max(axis=1) - stated
        flat[rows] = (roots @ axes) / (np.linalg.norm(roots, axis=1, keepdims=True) + 1e-6)
    return Doubts(best, own_score, margin, _alone(flat, things))


def _fitted(
    blocks: Blocks, labels: NDArray[np.int64], folds: NDArray[np.int64], categories: int
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32]]:
    """The weights f32[width + 1, categories] for each fold's listings, and the main directions of all features."""
    inner: list[NDArray[np.float64]] = []
    outer: list[NDArray[np.float64]] = []
    for rows, features in blocks():
        roots = _roots(features)
        roots = np.concatenate([roots, np.ones((len(roots), 1), np.float32)], axis=1)
        if not inner:
            inner = [np.zeros((roots.shape[1],) * 2) for _ in range(FOLDS)]
            outer = [np.zeros((roots.shape[1], categories)) for _ in range(FOLDS)]
        for fold in range(FOLDS):
            own = folds[rows] == fold
            some = roots[own]
            inner[fold] += some.T @ some
            outer[fold] += some.T @ np.eye(categories, dtype=np.float32)[labels[rows[own]]]
    products, targets = np.sum(inner, axis=0), np.sum(outer, axis=0)
    models = [_solved(products - inner[fold], targets - outer[fold]) for fold in range(FOLDS)]
    _, axes = np.linalg.eigh(products[:-1, :-1])
    return models, axes[:, -_DIRECTIONS:].astype(np.float32)


def _solved(products: NDArray[np.float64], targets: NDArray[np.float64]) -> NDArray[np.float32]:
    mean, spread, covariance = _standardised(products)
    count = max(products[-1, -1], 1.0)
    usual = targets[-1] / count
    wanted = (targets[:-1] / count - mean[:, None] * usual) / spread[:, None]
    weights = np.linalg.solve(covariance + _RIDGE * np.eye(len(covariance)), wanted) / spread[:, None]
    return np.concatenate([weights, (usual - mean @ weights)[None]]).astype(np.float32)


def _standardised(
    products: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean, deviation and covariance of standardised features, from sums of products; the last feature is 1."""
    count = max(products[-1, -1], 1.0)
    mean = products[-1, :-1] / count
    covariance = products[:-1, :-1] / count - np.outer(mean, mean)
    spread = np.sqrt(np.maximum(covariance.diagonal(), 0))
    spread = np.where(spread > 1e-6, spread, np.inf)  # one that never varies says nothing
    return mean, spread, covariance / np.outer(spread, spread)


def _roots(features: NDArray[np.float32]) -> NDArray[np.float32]:
    roots: NDArray[np.float32] = np.sign(features) * np.sqrt(np.abs(features))
    return roots


def _alone(flat: NDArray[np.float32], things: NDArray[np.int64]) -> NDArray[np.float32]:
    """How far the nearest photos of other things are, by the angle between the roots of their features."""
    rng, count = np.random.default_rng(0), len(flat)
    against = np.sort(rng.choice(count, min(count, _MOST_COMPARED), replace=False))
    distance = np.zeros(count, np.float32)
    nearest = min(_NEAREST, len(against)) - 1
    for at in range(0, count, 512):
        some = slice(at, at + 512)
        apart = 2 - 2 * flat[some] @ flat[against].T
        apart[things[some][:, None] == things[against][None]] = np.inf
        closest = np.partition(apart, nearest, axis=1)[:, : nearest + 1]
        distance[some] = np.sqrt(np.maximum(closest, 0)).mean(axis=1)
    finite = distance[np.isfinite(distance)]
    usual = np.median(finite) if len(finite) else 0.0
    spread = 1.4826 * np.median(np.abs(finite - usual)) if len(finite) else 0.0
    scaled: NDArray[np.float32] = np.nan_to_num((distance - usual) / max(spread, 1e-6), posinf=0.0).astype(
        np.float32
    )
    return scaled
