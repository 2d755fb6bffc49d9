# Numba types this function when it compiles it; mypy cannot.
# mypy: disable-error-code="no-untyped-def,no-untyped-call"
"""Where listings lie in a partition, whose rows are sorted by listing id: many binary searches at once.

Enters: the sorted ids of a partition, as Arrow keeps them (offsets and letters), and the ids that are looked for.
Leaves: the rows of each. Letters are compared as bytes, which orders UTF-8 as Python orders its strings.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from lookalike.index.pieces import read_only

Rows = npt.NDArray[np.int64]


def find_rows(ids: pa.StringArray, wanted: pa.StringArray | pa.BinaryArray) -> tuple[Rows, Rows]:
    """First row and the one after the last, int64[len(wanted)] each, of every wanted id; equal where there is none."""
    first, last = np.empty(len(wanted), np.int64), np.empty(len(wanted), np.int64)
    _search(*_parts(ids), *_parts(wanted), first, last)
    return first, last


def _parts(texts: pa.StringArray | pa.BinaryArray) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.uint8]]:
    """Offsets int32[n + 1] and letters, views that cannot be written."""
    if not len(texts):
        return read_only(np.zeros(1, np.int32)), read_only(np.zeros(0, np.uint8))
    _, offsets, letters = texts.buffers()
    view = np.frombuffer(offsets, np.int32, len(texts) + 1, 4 * texts.offset)
    data = np.empty(0, np.uint8) if letters is None else np.frombuffer(letters, np.uint8)
    return read_only(view), read_only(data)


@njit(nogil=True, cache=True)
def _order(letters, start, stop, wanted, wanted_start, wanted_stop):
    """-1, 0 or 1: whether the first text comes before, is, or comes after the second."""
    length, other = stop - start, wanted_stop - wanted_start
    for i in range(min(length, other)):
        a, b = letters[start + i], wanted[wanted_start + i]
        if a != b:
            return -1 if a < b else 1
    return 0 if length == other else -1 if length < other else 1


@njit(nogil=True, cache=True)
def _search(offsets, letters, wanted_offsets, wanted, first, last):
    for i in range(first.shape[0]):
        start, stop = wanted_offsets[i], wanted_offsets[i + 1]
        for upper in range(2):
            low, high = 0, offsets.shape[0] - 1
            while low < high:
                middle = (low + high) // 2
                order = _order(letters, offsets[middle], offsets[middle + 1], wanted, start, stop)
                if order < upper:
                    low = middle + 1
                else:
                    high = middle
            if upper:
                last[i] = low
            else:
                first[i] = low
