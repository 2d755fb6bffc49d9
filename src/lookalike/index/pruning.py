"""The scan that reads few codes: lower bounds from sketches first, then only the rows that can be among the k best.

For each query: (1) the bound of every row, from 16 bytes instead of 512; (2) about the 2k rows with the smallest
bounds are compared, which gives a distance to beat; (3) the rows whose bound is not above it are compared, and the
distance falls further on the way. The answer is that of the plain scan. Where (2) shows that too many rows would be
left for (3), the rest of the batch is left to the plain scan, which all its queries share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.index import kernels
from lookalike.index.pieces import Keys, Piece, Words, read_only

BOUND_NS, READ_NS, SHARED_NS, COMPARE_NS = 1.0, 40.0, 14.0, 2.0
"""Measured for a row of 512 bytes: bounding it; reading and comparing it on its own; and in a plain scan, reading it
once for all queries, and comparing it with each while it is in the cache. Only their proportions matter."""
SPARSE = 1 / 16
"""Where less than this part of the rows is allowed, reading them costs less than the bounds of all."""
_BINS = 4096

Work = tuple[Piece, Keys]
Each = Callable[[Callable[[Any], object], Sequence[Any]], object]


def pays(piece: Piece) -> bool:
    """Whether a piece may be scanned by its sketch."""
    return piece.sketch is not None and piece.rows >= SPARSE * (piece.last - piece.first)


def scan(each: Each, queries: Words, work: Sequence[Work], limits: Keys) -> int:
    """Offer the rows of sketched pieces to their heaps, as `Piece.scan` does; returns how many queries are done.

    `each` calls a function on every item of a sequence, on the scanner's threads. The heaps of queries that are not
    done are as they were.
    """
    bounds = [np.empty((piece.last - piece.first + 31) // 32 * 32, np.uint16) for piece, _ in work]
    share = _share(len(queries))
    for query in range(len(queries)):
        if not _scan_one(each, queries[query : query + 1], query, work, limits, bounds, share):
            return query
    return len(queries)


def _share(queries: int) -> float:
    """The part of the rows that may be left to read before a plain scan, which all queries share, costs less."""
    return (max(SHARED_NS / queries, COMPARE_NS) - BOUND_NS) / READ_NS


def _scan_one(
    each: Each,
    query: Words,
    number: int,
    work: Sequence[Work],
    limits: Keys,
    bounds: Sequence[npt.NDArray[np.uint16]],
    share: float,
) -> bool:
    histograms = np.zeros((len(work), _BINS), np.int64)
    limit = limits[number : number + 1]

    def bound(i: int) -> None:
        piece = work[i][0]
        assert piece.sketch is not None
        counts = np.ascontiguousarray(piece.sketch.count(query.view(np.uint8))[:, 0])
        planes = read_only(piece.sketch.planes)
        kernels.lower_bounds(
            planes, piece.first, piece.last, counts, piece.returned, bounds[i], histograms[i]
        )

    def compare(i: int, low: int, high: int) -> None:
        piece, heaps = work[i]
        rows = np.empty(piece.last - piece.first, np.int64)
        found = kernels.rows_within(bounds[i], piece.first, low, high, rows)
        kernels.scan_rows_one(
            query, piece.codes, piece.chunks, rows[:found], heaps[number : number + 1], limit
        )

    places = range(len(work))
    each(bound, places)
    below = np.cumsum(histograms.sum(axis=0))
    k = work[0][1].shape[1]
    wanted = min(2 * k // kernels.SAMPLED + 4, int(below[-1]))
    nearest = int(np.searchsorted(below, wanted))
    each(lambda i: compare(i, 0, nearest), places)
    keys = np.concatenate([heaps[number] for _, heaps in work])
    limit[0] = min(limit[0], np.partition(keys, k - 1)[k - 1] | kernels.ROW_MASK)
    beat = min(int(limit[0]) >> kernels.ROW_BITS, _BINS - 1)
    if below[beat] > share * below[-1]:
        for _, heaps in work:
            heaps[number] = kernels.NOTHING
        return False
    each(lambda i: compare(i, nearest + 1, beat), places)
    return True
