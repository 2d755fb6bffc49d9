"""The exact scan: top-k by Hamming distance over partitions, ties broken by listing id.

Partitions are cut into pieces, which threads of our own take one after another. Each piece fills a heap for every
query, and the heaps are merged. All queries of a batch share one pass over the codes; partitions that have a sketch
are scanned by `pruning`, which reads fewer of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lookalike.errors import QueryError
from lookalike.index import kernels, pruning
from lookalike.index.pieces import ALL, Bitmap, Keys, Piece, Words, read_only
from lookalike.index.reader import Partition
from lookalike.index.segment import SKETCH_PLANES
from lookalike.index.sketch import Grouping, Sketch
from lookalike.settings import available_cores

T = TypeVar("T")

PIECE_ROWS = 1 << 15
"""Rows of the smallest piece worth a thread of its own: 16 MB of codes, half a millisecond."""
BATCH = 32
"""Queries that share a pass: as many codes as fit into the first-level cache beside a block of rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest rows of each query, nearest first, equal distances by listing id."""

    distance: npt.NDArray[np.int32]
    """int32[q, k']"""
    partition: npt.NDArray[np.int32]
    """int32[q, k'], which of the partitions that were given"""
    row: npt.NDArray[np.int64]
    """int64[q, k'], the row within the partition"""


def bitmap(mask: npt.NDArray[np.bool_]) -> Bitmap:
    """bool[n] -> uint8[ceil(n / 8)], row i in bit i % 8 of byte i // 8: the rows that a scan may return."""
    return np.packbits(mask, bitorder="little")


class Scanner:
    """Scans partitions with threads of its own, one per core (`threads` 0). May be shared between threads.

    The kernel for 4096 bits is compiled, or read from Numba's cache, when a scanner is made and not at the first query;
    that for another width by the first query of that width.
    """

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads or available_cores()
        self._pool = ThreadPoolExecutor(self.threads, "scan") if self.threads > 1 else None
        _warm_up()

    def top_k(
        self,
        queries: npt.NDArray[np.uint8],
        partitions: Sequence[Partition],
        k: int,
        *,
        allowed: Sequence[Bitmap | None] | None = None,
        sketches: bool = True,
    ) -> Neighbours:
        """The `k` nearest rows of each query, or all where there are fewer: k' = min(k, rows left).

        `queries` is uint8[q, bits / 8]; `allowed` has one entry per partition, a `bitmap` or None for all rows. Dead
        rows of a partition are never returned.
        `sketches` False reads every row that is allowed. Raises `QueryError` where shapes or `k` cannot be.
        """
        bitmaps = [ALL if b is None else b for b in (allowed or [None] * len(partitions))]
        _check(queries, partitions, bitmaps, k)
        bitmaps = [
            rows if rows is ALL or p.alive is None else rows & p.alive
            for p, rows in zip(partitions, bitmaps, strict=True)
        ]
        pieces = [
            piece
            for number, (partition, rows) in enumerate(zip(partitions, bitmaps, strict=True))
            for piece in self._cut(number, partition, rows)
        ]
        k = min(k, sum(piece.rows for piece in pieces))
        words = read_only(np.ascontiguousarray(queries).view(np.uint64))
        keys = np.empty((len(queries), k), np.int64)
        places = np.empty((len(queries), k), np.int32)
        for start in range(0, len(queries) if k else 0, BATCH):
            batch = slice(start, start + BATCH)
            heaps = self._scan(words[batch], pieces, k, sketches)
            keys[batch], places[batch] = _merged(heaps, [piece.partition for piece in pieces], partitions, k)
        return Neighbours((keys >> kernels.ROW_BITS).astype(np.int32), places, keys & kernels.ROW_MASK)

    def _scan(self, queries: Words, pieces: Sequence[Piece], k: int, sketches: bool) -> list[Keys]:
        """The heaps of every piece for one batch of queries."""
        limits = np.full(len(queries), kernels.NOTHING)
        heaps = [np.full((len(queries), k), kernels.NOTHING) for _ in pieces]
        plain: list[pruning.Work] = []
        sketched: list[pruning.Work] = []
        for piece, heap in zip(pieces, heaps, strict=True):
            pays = sketches and pruning.pays(piece)
            (sketched if pays else plain).append((piece, heap))
        self._each(lambda work: work[0].scan(queries, work[1], limits), plain)
        done = pruning.scan(self._each, queries, sketched, limits) if sketched else len(queries)
        if done < len(queries):
            self._each(lambda work: work[0].scan(queries[done:], work[1][done:], limits[done:]), sketched)
        return heaps

    def _each(self, act: Callable[[T], object], items: Sequence[T]) -> None:
        """Call `act` on every item, on the scanner's threads."""
        results: Iterable[object] = (
            self._pool.map(act, items) if self._pool and len(items) > 1 else map(act, items)
        )
        for _ in results:
            pass

    def _cut(self, number: int, partition: Partition, allowed: Bitmap) -> Iterable[Piece]:
        """Pieces of about equal size, twice as many as threads, so that none waits long for another."""
        rows = len(partition)
        count = 1 if self.threads == 1 else max(1, min(2 * self.threads, rows // PIECE_ROWS))
        codes = read_only(partition.codes.view(np.uint64))
        cuts = [rows * i // count // 64 * 64 for i in range(count)] + [rows]
        limits = (
            read_only(allowed),
            partition.sketch,
            read_only(ALL if partition.alive is None else partition.alive),
        )
        for first, last in pairwise(cuts):
            piece = Piece.of(number, codes, first, last, *limits)
            if piece.rows:
                yield piece


def _check(
    queries: npt.NDArray[np.uint8], partitions: Sequence[Partition], bitmaps: Sequence[Bitmap], k: int
) -> None:
    if queries.ndim != 2 or queries.dtype != np.uint8:
        raise QueryError(f"queries are uint8[q, bits / 8], not {queries.dtype}{list(queries.shape)}")
    if k < 0:
        raise QueryError(f"k is at least 0, not {k}")
    if len(bitmaps) != len(partitions):
        raise QueryError(f"{len(bitmaps)} bitmaps do not fit {len(partitions)} partitions")
    for partition, rows in zip(partitions, bitmaps, strict=True):
        if partition.codes.shape[1] != queries.shape[1]:
            message = (
                f"a query of {queries.shape[1] * 8} bits does not fit codes of {partition.codes.shape[1] * 8}"
            )
            raise QueryError(f"{partition.category}: {message}")
        if rows is not ALL and (rows.dtype != np.uint8 or rows.shape != ((len(partition) + 7) // 8,)):
            raise QueryError(f"{partition.category}: the bitmap does not fit {len(partition)} rows")


def _merged(
    heaps: Sequence[Keys], places: Sequence[int], partitions: Sequence[Partition], k: int
) -> tuple[Keys, npt.NDArray[np.int32]]:
    """The k best of all heaps, in order: keys int64[q, k] and their partitions int32[q, k]."""
    keys = np.concatenate(heaps, axis=1)
    place = np.repeat(np.array(places, np.int32), k)
    if len(set(places)) == 1:
        return np.sort(keys, axis=1)[:, :k], np.full((len(keys), k), places[0], np.int32)
    order = np.lexsort((keys, np.broadcast_to(place, keys.shape), keys >> kernels.ROW_BITS), axis=1)
    keys, found = np.take_along_axis(keys, order, axis=1), place[order]
    for query in range(len(keys)):
        _order_ties(keys[query], found[query], partitions, k)
    return keys[:, :k], found[:, :k]


def _order_ties(keys: Keys, places: npt.NDArray[np.int32], partitions: Sequence[Partition], k: int) -> None:
    """Within equal distances, order rows of different partitions by listing id, as far as the first k need it."""
    distances = keys >> kernels.ROW_BITS
    last = int(np.searchsorted(distances, distances[k - 1], side="right"))
    cuts = [0, *(np.flatnonzero(np.diff(distances[:last])) + 1).tolist(), last]
    for start, stop in pairwise(cuts):
        tied = places[start:stop]
        if (tied == tied[0]).all():
            continue
        rows = (keys[start:stop] & kernels.ROW_MASK).tolist()
        ids = [partitions[p].listing_ids[r].as_py() for p, r in zip(tied.tolist(), rows, strict=True)]
        order = start + np.array(sorted(range(len(ids)), key=ids.__getitem__))
        keys[start:stop], places[start:stop] = keys[order], places[order]


@cache
def _warm_up() -> None:
    """Call every kernel once with the types that a query brings."""
    n, bits = 64, 4096
    codes = read_only(np.zeros((n, bits // 64), np.uint64))
    one = read_only(bitmap(np.arange(n) == 0))
    base = np.zeros(SKETCH_PLANES, np.int64)
    grouping = Grouping(np.zeros(bits, np.uint8), np.zeros(bits, np.bool_), base)
    sketch = Sketch(grouping, np.zeros((SKETCH_PLANES, n), np.uint8), grouping.counter())
    for allowed, alive in ((read_only(ALL), read_only(ALL)), (read_only(ALL), one), (one, one)):
        piece = Piece.of(0, codes, 0, n, allowed, sketch, alive)
        for queries in (codes[:1], codes[:2]):
            limits, heaps = (
                np.full(len(queries), kernels.NOTHING),
                np.full((len(queries), 1), kernels.NOTHING),
            )
            piece.scan(queries, heaps, limits)
        pruning.scan(lambda act, items: list(map(act, items)), queries, [(piece, heaps)], limits)
