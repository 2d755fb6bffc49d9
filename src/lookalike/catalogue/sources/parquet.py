"""Parquet: a file, or a folder of them whose folders' names may hold columns. Only the columns asked for are read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.sources.delimited import checked_header
from lookalike.catalogue.sources.files import TableFile
from lookalike.catalogue.tables import RowProblem, Rows, Table
from lookalike.errors import CatalogueError

BATCH = 10_000
"""Rows in memory at once."""
FREE_ROWS, MOST_ROWS_A_BYTE = 1_000_000, 4
"""Rows from which on they are held against the file's size, and rows for each of its bytes: a listing has an id."""
_NO_VALUE = (
    pa.ArrowException,
    ValueError,
    LookupError,
    ArithmeticError,
)  # dates, zones, text that is not UTF-8
_NO_TEXT = (pa.types.is_struct, pa.types.is_map, pa.types.is_union)


def parquet(file: TableFile) -> Table:
    """The table in `file`. Raises `CatalogueError`."""
    with _readable(file.uri), file.open() as stream:
        opened = pq.ParquetFile(stream)
        schema, count = opened.schema_arrow, opened.metadata.num_rows
    if count > max(FREE_ROWS, MOST_ROWS_A_BYTE * file.size):
        raise CatalogueError(f"{file.uri} holds {count:,} rows in {file.size:,} bytes: is it a table?")
    header = checked_header(file.uri, tuple(schema.names))
    no_text = {column.name for column in schema if any(is_kind(column.type) for is_kind in _NO_TEXT)}

    def rows(names: Sequence[str]) -> Rows:
        line = 0
        with file.open() as stream:
            with _readable(file.uri):
                batches = iter(
                    pq.ParquetFile(stream, pre_buffer=False).iter_batches(BATCH, columns=list(names))
                )
            while True:
                with _readable(file.uri):
                    batch = next(batches, None)
                if batch is None:
                    return
                for values in zip(*(values_of(batch[name]) for name in names), strict=True):
                    line += 1
                    yield line, dict(zip(names, values, strict=True))

    return Table(header, "row", rows, frozenset(no_text))


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CatalogueError(f"{uri} is not readable as Parquet: {_first_line(error)}") from error


def values_of(column: pa.Array) -> list[Any]:
    """The column's values; one that Python has no value for is a `RowProblem` in its place."""
    try:
        values: list[Any] = column.to_pylist()
    except _NO_VALUE:
        values = [_value_of(scalar) for scalar in column]
    return values


def _value_of(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except _NO_VALUE as error:
        message = f"cannot be read ({scalar.type}); store it as text in UTF-8: {_first_line(error)}"
        return RowProblem("unreadable value", message)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
