"""The tables of listings of a curated snapshot, written row group by row group.

Kept listings enter as columns of numbers, what they only pass on comes from the catalogue's columns on disk; two
Parquet files leave. No more than one row group is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lookalike.catalogue.assembly import Assembled
from lookalike.catalogue.fields import FURTHER
from lookalike.catalogue.snapshot import ASPECT_PREFIX, LISTING_PHOTOS_SCHEMA, listings_schema
from lookalike.columns import own_columns

ROWS = 1 << 20
"""Rows of a group, as pyarrow cuts a whole table."""
_BLOCK, _MOST_BLOCKS = 1 << 16, 256
"""Rows that are put in order at a time, at least, and how often, unless rows are very many."""


def write_listings(path: Path, snapshot: Assembled) -> None:
    """``listings.parquet``: see `snapshot.listings_schema`."""
    _write(path, _listings(snapshot), _schema(snapshot))


def write_listing_photos(path: Path, snapshot: Assembled) -> None:
    """``listing_photos.parquet``: see `snapshot.LISTING_PHOTOS_SCHEMA`."""
    _write(path, _listing_photos(snapshot), LISTING_PHOTOS_SCHEMA)


def _write(path: Path, groups: Iterator[pa.Table], schema: pa.Schema) -> None:
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in groups:
            writer.write_table(table, row_group_size=ROWS)


def _schema(snapshot: Assembled) -> pa.Schema:
    catalogue = snapshot.findings.catalogue
    return listings_schema(list(catalogue.aspects), own_columns(catalogue.listings.spool.schema.names))


def _listings(snapshot: Assembled) -> Iterator[pa.Table]:
    kept, catalogue = snapshot.kept, snapshot.findings.catalogue
    schema = _schema(snapshot)
    aspects = (ASPECT_PREFIX + name for name in catalogue.aspects)
    shops = (column.name for column in own_columns(schema.names))
    passed = ["title", "price", *FURTHER, *shops, *aspects]
    main = kept.pictured.main
    before = 0
    for rows in _together(catalogue.listings.spool.in_order(kept.pictured.rows, _block(len(kept)), passed)):
        own = slice(before, before + rows.num_rows)
        before += rows.num_rows
        product = snapshot.group.values
        columns = {name: rows[name] for name in passed}
        columns |= {
            "listing_id": kept.listing_ids.slice(own.start, rows.num_rows),
            "photo_id": kept.photo_ids.take(pa.array(main[own])),
            "category": pa.array(kept.categories, pa.string()).take(pa.array(kept.category[own])),
            "source_category": kept.source.values.take(pa.array(kept.source.codes[own])),
            "split": pa.array(kept.sides, pa.string()).take(pa.array(kept.splits.split[own])),
            "title": pc.if_else(pc.equal(rows["title"], ""), None, rows["title"]),
            "product": _texts(kept.product.codes[own], product),
            "seller": _texts(kept.seller.codes[own], kept.seller.values),
            "group": pc.coalesce(
                _texts(snapshot.group.codes[own], product),
                kept.photo_ids.take(pa.array(snapshot.group_photo[own])),
            ),
        }
        yield pa.table([columns[field.name] for field in schema], schema=schema)


def _block(rows: int) -> int:
    """Rows that are put in order at a time: `ROWS` are some of these."""
    block = _BLOCK
    while block < min(ROWS, rows / _MOST_BLOCKS):
        block *= 2
    return block


def _together(blocks: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """`ROWS` at a time, each column in one piece, since pages of Parquet depend on it."""
    held: list[pa.Table] = []

    def whole() -> pa.Table:
        table = pa.concat_tables(held)
        held.clear()
        names, columns = table.column_names, table.columns
        del table
        for at in range(len(columns)):  # one by one: only one column is there twice
            columns[at] = columns[at].combine_chunks()
        return pa.table(columns, names)

    for block in blocks:
        held.append(block)
        if sum(table.num_rows for table in held) >= ROWS:
            yield whole()
    if held:
        yield whole()


def _texts(codes: np.ndarray, values: pa.StringArray) -> pa.StringArray:
    return values.take(pa.array(codes, mask=codes < 0))


def _listing_photos(snapshot: Assembled) -> Iterator[pa.Table]:
    pictured, kept = snapshot.kept.pictured, snapshot.kept
    for at in range(0, len(pictured.photos), ROWS):
        photos = pictured.photos[at : at + ROWS]
        numbers = np.arange(at, at + len(photos), dtype=np.int32)
        owner = np.searchsorted(pictured.starts, numbers, "right") - 1
        columns = [
            kept.listing_ids.take(pa.array(owner)),
            pa.array(numbers - pictured.starts[owner]),
            kept.photo_ids.take(pa.array(photos)),
        ]
        yield pa.table(columns, schema=LISTING_PHOTOS_SCHEMA)
