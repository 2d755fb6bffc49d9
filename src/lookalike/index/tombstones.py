"""The tombstones of a delta: which listings of the base and of older deltas are dead.

A tombstone names a listing and the leaf category in which its dead rows lie, so finding them is a binary search in one
partition of each segment. It kills all rows of the listing there. A tombstone of rows that are not there does no harm.
The file is Parquet with two columns, sorted by category and listing id.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import SegmentError

TOMBSTONES = "tombstones.parquet"
"""The file's name within a delta."""
SCHEMA = pa.schema(
    [
        pa.field("category", pa.utf8(), nullable=False),
        pa.field("listing_id", pa.utf8(), nullable=False),
    ]
)
_ORDER = [("category", "ascending"), ("listing_id", "ascending")]


def to_table(categories: pa.Array, listing_ids: pa.Array) -> pa.Table:
    """Tombstones as they are written: sorted, each once."""
    table = pa.table([categories, listing_ids], schema=SCHEMA)
    return table.group_by(["category", "listing_id"]).aggregate([]).sort_by(_ORDER).cast(SCHEMA)


def to_bytes(table: pa.Table) -> bytes:
    """The file of `to_table`."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    return sink.getvalue()


class Tombstones:
    """Those of one delta, by category."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.by_category: Mapping[str, pa.StringArray] = _by_category(table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @classmethod
    def open(cls, path: Path) -> Tombstones:
        """Raises `SegmentError` (rule `tombstones`) where the file is not one of tombstones."""
        try:
            table = pq.read_table(path)
            if (
                not table.schema.equals(SCHEMA)
                or table["category"].null_count
                or table["listing_id"].null_count
            ):
                raise SegmentError(path.name, "tombstones", f"its columns are not {SCHEMA.names}")
            return cls(table)
        except (pa.ArrowException, OSError) as error:
            raise SegmentError(path.name, "tombstones", f"it is not readable as Parquet: {error}") from error


def _by_category(table: pa.Table) -> dict[str, pa.StringArray]:
    if not table.num_rows:
        return {}
    whole = table.combine_chunks()
    names = pa.concat_arrays(whole["category"].chunks).dictionary_encode()
    numbers = names.indices.to_numpy()
    order = np.argsort(numbers, kind="stable")
    cuts = np.searchsorted(numbers[order], np.arange(len(names.dictionary) + 1)).tolist()
    ids = pa.concat_arrays(whole["listing_id"].chunks).take(pa.array(order))
    return {
        name: ids.slice(start, stop - start)
        for name, (start, stop) in zip(names.dictionary.to_pylist(), pairwise(cuts), strict=True)
    }
