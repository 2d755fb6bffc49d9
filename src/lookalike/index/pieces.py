"""Pieces: consecutive rows of one partition, the unit of work of a scanning thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from lookalike.index import kernels
from lookalike.index.sketch import Sketch

Bitmap = npt.NDArray[np.uint8]
"""uint8[ceil(n / 8)], row i in bit i % 8 of byte i // 8"""
Words = npt.NDArray[np.uint64]
"""uint64[rows, bits / 64]"""
Keys = npt.NDArray[np.int64]
"""Rows with their distances as `kernels` orders them; a heap is Keys[q, k]."""
ALL: Bitmap = np.empty(0, np.uint8)
"""The bitmap of all rows."""


def read_only(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A view that cannot be written: to Numba that is a type of its own, and each type is compiled anew."""
    view = array[:]
    view.flags.writeable = False
    return view


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows `first` (a multiple of 64) to `last` of a partition; `rows` of them are `allowed` (all if it is empty)."""

    partition: int
    codes: Words
    first: int
    last: int
    allowed: Bitmap
    rows: int
    sketch: Sketch | None

    @classmethod
    def of(
        cls, partition: int, codes: Words, first: int, last: int, allowed: Bitmap, sketch: Sketch | None
    ) -> Self:
        """Counts the rows that are allowed."""
        rows = last - first
        if len(allowed):
            span = allowed[first // 8 : (last + 7) // 8]
            rows = int(np.bitwise_count(span).sum(dtype=np.int64))
            if last % 8:
                rows -= int(span[-1] >> last % 8).bit_count()
        return cls(partition, codes, first, last, allowed, rows, sketch)

    @property
    def chunks(self) -> tuple[int, ...]:
        """What the kernels are compiled for."""
        return kernels.chunks_of(self.codes.shape[1])

    def scan(self, queries: Words, heaps: Keys, limits: Keys) -> None:
        """Offer every allowed row to every query's heap. Where some are not, the others are listed and fetched."""
        one = len(queries) == 1
        if not one:
            queries = read_only(np.pad(queries, ((0, -len(queries) % kernels.GROUP), (0, 0))))
        if len(self.allowed):
            rows = np.empty(self.rows, np.int64)
            kernels.allowed_rows(self.allowed, self.first, self.last, rows)
            scan_rows = kernels.scan_rows_one if one else kernels.scan_rows
            scan_rows(queries, self.codes, self.chunks, rows, heaps, limits)
        else:
            scan = kernels.scan_one if one else kernels.scan
            scan(queries, self.codes, self.chunks, self.first, self.last, heaps, limits)
