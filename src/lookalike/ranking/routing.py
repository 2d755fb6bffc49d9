"""Which categories to open: the smallest set whose calibrated probabilities reach a mass.

The paper opens a fixed number of top categories. With probabilities that mean what they say (temperature scaling,
`quality.calibration`), a sure photo opens one category and an unsure one several, and the mass is the chance that
the right one is among them: the only place in a search where recall is given up for speed.
"""

from __future__ import annotations

import numpy as np


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
