"""Values of a few rows of a mapped column, as `column.take(rows).to_pylist()` gives them, read off the map.

Enters: a column of a segment, of one of the three kinds that there are, and rows. Leaves: Python values. A search asks
for a dozen columns of two dozen rows just after a scan, which has left nothing in the caches. Then the way through
Arrow's kernels costs 0.1 ms a column, and this a third.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Rows = npt.NDArray[np.integer]


def values_at(column: pa.Array, rows: Rows) -> list[Any]:
    """What `rows` int[m] of a column of texts, labels or numbers (float64) have; None where one is null."""
    if not len(rows):
        return []
    at = rows + column.offset
    if not column.null_count:
        return _known(column, at)
    bits = np.frombuffer(column.buffers()[0], np.uint8)
    valid = (bits[at >> 3] >> (at & 7) & 1).astype(bool)
    known = iter(_known(column, at[valid]))
    return [next(known) if each else None for each in valid.tolist()]


def _known(column: pa.Array, at: Rows) -> list[Any]:
    """The values at places of the column's buffers where it is not null."""
    if isinstance(column, pa.DictionaryArray):
        return values_at(column.dictionary, np.frombuffer(column.buffers()[1], np.int32)[at])
    if isinstance(column, pa.DoubleArray):
        numbers: list[Any] = np.frombuffer(column.buffers()[1], np.float64)[at].tolist()
        return numbers
    _, offsets, data = column.buffers()
    starts, text = np.frombuffer(offsets, np.int32), memoryview(data or b"")
    spans = zip(starts[at].tolist(), starts[at + 1].tolist(), strict=True)
    return [str(text[first:last], "utf-8") for first, last in spans]
