"""Near duplicates as groups: what hangs together by links (`copies` finds these)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """For each of `count` nodes the smallest node that it is linked to by `pairs` (int[m, 2]), itself included."""
    ones = np.ones(len(pairs), np.int8)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    smallest = np.full(count, count, np.int64)
    np.minimum.at(smallest, labels, np.arange(count))
    found: np.ndarray = smallest[labels]
    return found
