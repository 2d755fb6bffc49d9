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


_NONE_DEAD: Bitmap = read_only(ALL)


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """Rows `first` (a multiple of 64) to `last` of a partition, of which `rows` may be returned.

    `allowed` are those that a filter left, dead ones excluded; where it is empty, `alive` are those that are not dead.
    Both are bitmaps, empty where no row is left out.
    """

    partition: int
    codes: Words
    first: int
    last: int
    allowed: Bitmap
    alive: Bitmap
    rows: int
    sketch: Sketch | None

    @classmethod
    def of(
        cls,
        partition: int,
        codes: Words,
        first: int,
        last: int,
        allowed: Bitmap,
        sketch: Sketch | None,
        alive: Bitmap = ALL,
    ) -> Self:
        """Counts the rows that may be returned; a piece without dead rows forgets `alive`."""
        rows, limiting = last - first, allowed if len(allowed) else alive
        if len(limiting):
            span = limiting[first // 8 : (last + 7) // 8]
            rows = int(np.bitwise_count(span).sum(dtype=np.int64))
            if last % 8:
                rows -= int(span[-1] >> last % 8).bit_count()
        some_dead = len(alive) and not len(allowed) and rows < last - first
        return cls(partition, codes, first, last, allowed, alive if some_dead else _NONE_DEAD, rows, sketch)

    @property
    def returned(self) -> Bitmap:
        """The rows that may be returned, whatever leaves out the others."""
        return self.allowed if len(self.allowed) else self.alive

    @property
    def chunks(self) -> tuple[int, ...]:
        """What the kernels are compiled for."""
        return kernels.chunks_of(self.codes.shape[1])

    def scan(self, queries: Words, heaps: Keys, limits: Keys) -> None:
        """Offer every row that may be returned to every query's heap. Where a filter left some, these are listed and
        fetched; where few are dead, all are read."""
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
            scan(queries, self.codes, self.chunks, self.first, self.last, self.alive, heaps, limits)
