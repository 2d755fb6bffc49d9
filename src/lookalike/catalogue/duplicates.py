"""Near duplicates: the same photo saved anew, found by perceptual hash and confirmed on thumbnails.

A 64-bit DCT hash (imagehash.phash) is the same or nearly so after rescaling and recompressing. It also is, now and
then, for two garments laid out alike; so a pair must also look alike at 16 x 16 pixels. Pairs within d bits are
found exactly without comparing all with all: of d + 1 bands of bits at least one must be equal (pigeonhole; as in
Norouzi, Punjani, Fleet 2012, multi-index hashing).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

PRINT_PIXELS = 16 * 16
_BLOCK = 1024


def near_pairs(phashes: np.ndarray, prints: np.ndarray, max_bits: int, max_rmse: float) -> np.ndarray:
    """Pairs of photos that look the same: int64[m, 2], first below second, sorted.

    `phashes` is uint64[n], `prints` uint8[n, 16, 16, 3]. Two photos pair when their hashes differ in at most
    `max_bits` and their prints, brought to the same mean, by at most `max_rmse` grey levels.
    """
    candidates = _within(phashes, max_bits)
    close = [
        _rmse(prints, block) <= max_rmse for block in np.array_split(candidates, len(candidates) // 65536 + 1)
    ]
    kept: np.ndarray = candidates[np.concatenate(close)]
    return kept


def components(count: int, pairs: np.ndarray) -> np.ndarray:
    """For each of `count` nodes the smallest node that it is linked to by `pairs` (int[m, 2]), itself included."""
    ones = np.ones(len(pairs), np.int8)
    graph = coo_matrix((ones, (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    smallest = np.full(count, count, np.int64)
    np.minimum.at(smallest, labels, np.arange(count))
    found: np.ndarray = smallest[labels]
    return found


def _within(hashes: np.ndarray, max_bits: int) -> np.ndarray:
    edges = np.linspace(0, 64, max_bits + 2).round().astype(np.uint64)
    found = [np.zeros((0, 2), np.int64)]
    for low, high in pairwise(edges):
        band = (hashes >> low) & np.uint64((1 << int(high - low)) - 1)
        order = np.argsort(band, kind="stable")
        starts = np.flatnonzero(np.diff(band[order], prepend=band[order][:1] + np.uint64(1)))
        for bucket in np.split(order, starts[1:]) if len(order) else []:
            for at in range(0, len(bucket) if len(bucket) > 1 else 0, _BLOCK):
                rows = bucket[at : at + _BLOCK]
                distance = np.bitwise_count(hashes[rows][:, None] ^ hashes[bucket[at:]][None, :])
                i, j = np.nonzero(distance <= max_bits)
                pairs = np.stack([rows[i], bucket[at:][j]], axis=1)
                found.append(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1))
    return np.unique(np.concatenate(found), axis=0)


def _rmse(prints: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    one, other = (
        prints[pairs[:, side]].astype(np.float32).reshape(len(pairs), PRINT_PIXELS, 3) for side in (0, 1)
    )
    difference = (one - one.mean(axis=1, keepdims=True)) - (other - other.mean(axis=1, keepdims=True))
    rmse: np.ndarray = np.sqrt((difference**2).mean(axis=(1, 2)))
    return rmse
