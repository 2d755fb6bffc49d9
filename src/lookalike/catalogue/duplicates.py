"""Near duplicates as groups: what hangs together by links (`copies` finds these)."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lookalike.catalogue.shelf import Places


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """For each of `count` nodes the smallest node that it is linked to by `pairs` (int[m, 2]), itself included."""
    ones = np.ones(len(pairs), np.int8)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    smallest = np.full(count, count, np.int64)
    np.minimum.at(smallest, labels, np.arange(count))
    found: np.ndarray = smallest[labels]
    return found


def joined(labels: Places, nodes: Places, codes: Places) -> Places:
    """Groups that hang together by `labels`, each named by its smallest node, or by a code that their nodes share:
    node `nodes[i]` has `codes[i]`, at least 0. For each node the smallest of its group.

    The first node of each code draws the others' groups to it, until nothing moves.
    """
    while len(codes):
        own = labels[nodes]
        least = np.full(int(codes.max()) + 1, len(labels), np.int32)
        np.minimum.at(least, codes, own)
        towards = np.arange(len(labels), dtype=np.int32)
        np.minimum.at(towards, own, least[codes])
        del own, least
        while not np.array_equal(further := towards[towards], towards):
            towards = further
        moved = towards[labels]
        if np.array_equal(moved, labels):
            break
        labels = moved
    return labels
