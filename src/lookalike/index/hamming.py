"""The exact scan: top-k by Hamming distance over partitions, ties broken by listing id."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt

from lookalike.index.reader import Partition
from lookalike.settings import available_cores

Bitmap = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest rows of each query, nearest first: `row` counts within `partition`, which counts within the call."""

    distance: npt.NDArray[np.int32]
    """int32[q, k']"""
    partition: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]


def bitmap(mask: npt.NDArray[np.bool_]) -> Bitmap:
    """bool[n] -> uint8[ceil(n / 8)], row i in bit i % 8 of byte i // 8: the rows that a scan may return."""
    return np.packbits(mask, bitorder="little")


class Scanner:
    """Scans partitions with threads of its own, one per core (`threads` 0)."""

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads or available_cores()
        self._pool = ThreadPoolExecutor(self.threads, "scan")

    def top_k(
        self,
        queries: npt.NDArray[np.uint8],
        partitions: Sequence[Partition],
        k: int,
        *,
        allowed: Sequence[Bitmap | None] | None = None,
    ) -> Neighbours:
        """The `k` nearest rows of each query, or all where there are fewer: k' = min(k, rows allowed).

        `queries` is uint8[q, bits / 8]; `allowed` has one entry per partition, a `bitmap` or None for all rows.
        """
        allowed = allowed or [None] * len(partitions)
        order, ids = [], []
        for i, (part, bits) in enumerate(zip(partitions, allowed, strict=True)):
            keep = np.arange(len(part))
            if bits is not None:
                keep = keep[np.unpackbits(bits, count=len(part), bitorder="little").astype(bool)]
            order.append(np.stack([np.full(len(keep), i), keep]))
            ids.append(np.array([part.listing_ids[r].as_py().encode() for r in keep], dtype=object))
        place = np.concatenate(order, axis=1) if order else np.empty((2, 0), np.int64)
        names = np.concatenate(ids) if ids else np.empty(0, object)
        by_id = np.argsort(names, kind="stable")
        place = place[:, by_id]
        found = []
        for query in queries:
            distances = [_distances(query.view(np.uint64), p.codes.view(np.uint64)) for p in partitions]
            d = np.empty(place.shape[1], np.int32)
            for i, distance in enumerate(distances):
                mine = place[0] == i
                d[mine] = distance[place[1][mine]]
            best = np.argsort(d, kind="stable")[:k]
            found.append((d[best], place[0][best], place[1][best]))
        k = min(k, place.shape[1])
        shape = (len(queries), k)
        return Neighbours(
            np.array([f[0] for f in found], np.int32).reshape(shape),
            np.array([f[1] for f in found], np.int32).reshape(shape),
            np.array([f[2] for f in found], np.int64).reshape(shape),
        )


@numba.njit(nogil=True, cache=True)
def _popcount(x):  # type: ignore[no-untyped-def]
    x -= (x >> np.uint64(1)) & np.uint64(0x5555555555555555)
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@numba.njit(nogil=True, cache=True)
def _distances(query, codes):  # type: ignore[no-untyped-def]
    out = np.empty(codes.shape[0], np.int32)
    for i in range(codes.shape[0]):
        total = np.uint64(0)
        for w in range(codes.shape[1]):
            total += _popcount(query[w] ^ codes[i, w])
        out[i] = total
    return out
