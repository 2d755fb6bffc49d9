"""Near duplicates as groups: what hangs together by links (`copies` finds these)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
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


def joined(
    labels: NDArray[np.int64], nodes: NDArray[np.int64], codes: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Groups that hang together by `labels`, each named by its smallest node, or by a code that their nodes share:
    node `nodes[i]` has `codes[i]`, at least 0. For each node the smallest of its group."""
    if not len(codes):
        return labels
    own = labels[nodes]
    first = np.full(int(codes.max()) + 1, -1, np.int64)
    first[codes[::-1]] = own[::-1]
    one = first[codes]
    apart = one != own
    pairs = np.unique(np.stack([one[apart], own[apart]], axis=1), axis=0)
    if not len(pairs):
        return labels
    ends, places = np.unique(pairs, return_inverse=True)
    target = np.arange(len(labels))
    target[ends] = ends[components(len(ends), places.reshape(-1, 2))]
    return target[labels]
