"""Near duplicates: the same photo saved anew, found by perceptual hash and confirmed on thumbnails.

A 64-bit DCT hash (imagehash.phash) is the same or nearly so after rescaling and recompressing. It also is, now and
then, for two garments laid out alike; so a pair must also look alike at 16 x 16 pixels. Pairs within d bits are
found exactly without comparing all with all: of d + 1 bands of bits at least one must be equal (pigeonhole; as in
Norouzi, Punjani, Fleet 2012, multi-index hashing).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

PRINT_PIXELS = 16 * 16
_BLOCK = 256
_WIDTH = 65536
"""A bucket's photos are compared by blocks of so many rows and columns."""
_COMPARED = 2048
"""Pairs whose prints are compared at once: some 20 MB."""


def near_pairs(phashes: np.ndarray, prints: np.ndarray, max_bits: int, max_rmse: float) -> np.ndarray:
    """Pairs of photos that look the same: int64[m, 2], first below second, sorted; enough to link all that do.

    `phashes` is uint64[n], `prints` uint8[n, 16, 16, 3]. Two photos pair when their hashes differ in at most
    `max_bits` and their prints, brought to the same mean, by at most `max_rmse` grey levels. Of n photos that are
    linked n - 1 pairs are given, a spanning tree: all pairs of 5,000 copies would be 12 million.
    """
    linked = _Linked(len(phashes))
    for rows, others in _within(phashes, max_bits, linked):
        while len(rows):
            one, other = rows[:_COMPARED], others[:_COMPARED]
            close = _rmse(prints, np.stack([one, other], axis=1)) <= max_rmse
            linked.link(one[close], other[close])
            rows, others = linked.apart(rows[_COMPARED:], others[_COMPARED:])
    return linked.pairs


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """For each of `count` nodes the smallest node that it is linked to by `pairs` (int[m, 2]), itself included."""
    ones = np.ones(len(pairs), np.int8)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    smallest = np.full(count, count, np.int64)
    np.minimum.at(smallest, labels, np.arange(count))
    found: np.ndarray = smallest[labels]
    return found


class _Linked:
    """Which photos are linked so far, and by which pairs."""

    def __init__(self, count: int) -> None:
        self._above = np.arange(count)
        self._found: list[tuple[int, int]] = []

    @property
    def pairs(self) -> np.ndarray:
        """int64[m, 2], sorted."""
        return np.array(sorted(self._found), np.int64).reshape(-1, 2)

    def roots(self, rows: np.ndarray) -> np.ndarray:
        """What all photos that are linked to these have in common."""
        found: np.ndarray = self._above[rows]
        while not np.array_equal(found, further := self._above[found]):
            found = further
        self._above[rows] = found
        return found

    def apart(self, rows: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Those pairs that are not linked yet."""
        wanted = self.roots(rows) != self.roots(others)
        return rows[wanted], others[wanted]

    def link(self, rows: np.ndarray, others: np.ndarray) -> None:
        for one, other in zip(rows.tolist(), others.tolist(), strict=True):
            low, high = sorted((self._root(one), self._root(other)))
            if low != high:
                self._above[high] = low
                self._found.append((min(one, other), max(one, other)))

    def _root(self, row: int) -> int:
        while (above := int(self._above[row])) != row:
            self._above[row] = self._above[above]
            row = above
        return row


def _within(hashes: np.ndarray, max_bits: int, linked: _Linked) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs within `max_bits` that are not linked yet, each in the first band that both share."""
    edges = np.linspace(0, 64, max_bits + 2).round().astype(np.uint64)
    before: list[np.uint64] = []
    for low, high in pairwise(edges):
        mask = np.uint64((1 << int(high - low)) - 1) << low
        band = hashes & mask
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
        for bucket in np.split(order, starts[1:]) if len(order) else []:
            for at in range(0, len(bucket) if len(bucket) > 1 else 0, _BLOCK):
                rows = bucket[at : at + _BLOCK]
                for others in np.split(bucket[at:], range(_WIDTH, len(bucket) - at, _WIDTH)):
                    yield _near(hashes, rows, others, max_bits, before, linked)
        before.append(mask)


def _near(
    hashes: np.ndarray,
    rows: np.ndarray,
    others: np.ndarray,
    max_bits: int,
    before: Sequence[np.uint64],
    linked: _Linked,
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of one of `rows` and one of `others`, but no pair that shares a band of `before`."""
    apart = linked.roots(rows)[:, None] != linked.roots(others)[None, :]
    i, j = np.nonzero(apart & (np.bitwise_count(hashes[rows][:, None] ^ hashes[others][None, :]) <= max_bits))
    one, other = rows[i], others[j]
    new = np.ones(len(one), bool)
    for earlier in before:
        new &= ((hashes[one] ^ hashes[other]) & earlier) != 0
    return one[new], other[new]


def _rmse(prints: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    one, other = (
        prints[pairs[:, side]].astype(np.float32).reshape(len(pairs), PRINT_PIXELS, 3) for side in (0, 1)
    )
    difference = (one - one.mean(axis=1, keepdims=True)) - (other - other.mean(axis=1, keepdims=True))
    rmse: np.ndarray = np.sqrt((difference**2).mean(axis=(1, 2)))
    return rmse
