"""A catalogue's table as its rows: CSV or Parquet bytes enter, named values row by row leave.

Other packages add formats by the extension of the file's name (`plugins`).

A row, or a value, that cannot be read is a `RowProblem` in its place; a table that cannot, a `CatalogueError`. Of a
Parquet table only the columns that are asked for are read.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import CatalogueError, SettingsError
from lookalike.plugins import Registry

_NO_VALUE = (
    pa.ArrowException,
    ValueError,
    LookupError,
    ArithmeticError,
)  # dates, zones, text that is not UTF-8
_NO_TEXT = (pa.types.is_struct, pa.types.is_map, pa.types.is_union)


CUT_OFF = "cut off"
"""Reason of a last line that ends in the middle, as in an export that was not finished."""


class RowProblem(Exception):
    """Why a row is left out: a stable word or two, and a sentence."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


Rows = Iterator[tuple[int, dict[str, Any] | RowProblem]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table whose header has been read."""

    header: tuple[str, ...]
    unit: str
    """What a row number counts: lines of a file, or rows of a table."""
    rows: Callable[[Sequence[str]], Rows]
    """The rows, with these columns at least."""
    no_text: frozenset[str] = frozenset()
    """Columns of structs and maps, which no value of a listing can be taken from."""


ReadsTable = Callable[[str, bytes], Table]
"""A table's URI, for messages, and its bytes -> the table. Raises `CatalogueError`."""


def read_table(uri: str, data: bytes) -> Table:
    """A format that a package adds by its extension; else Parquet by its first bytes, or CSV in UTF-8.

    `uri` also names it in errors. Raises `CatalogueError`, and `SettingsError` where that package cannot be used.
    """
    extension = PurePosixPath(uri).suffix.removeprefix(".").lower()
    if extension not in CATALOGUES:
        return _csv_or_parquet(uri, data)
    table = CATALOGUES[extension](uri, data)
    if not isinstance(table, Table):
        raise SettingsError(
            f"{uri}: what {CATALOGUES.distribution(extension)} reads it as is a {type(table).__name__}, no Table"
        )
    return table


def _csv_or_parquet(uri: str, data: bytes) -> Table:
    return _parquet(uri, data) if data.startswith(b"PAR1") else _csv(uri, data)


CATALOGUES: Registry[ReadsTable] = Registry(
    "lookalike.catalogues",
    "catalogue format",
    dict.fromkeys(("csv", "parquet", "tsv", "txt"), _csv_or_parquet),
)
"""Extension of a file's name, in small letters and without the dot -> what reads such a table."""


def _csv(uri: str, data: bytes) -> Table:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{uri} is not UTF-8: byte {data[error.start]:#04x} in line {line}; save it as UTF-8"
        raise CatalogueError(message) from error
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # long fields are judged by us, row by row
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    stream = io.StringIO(text, newline="")
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    unfinished = not text.endswith(("\n", "\r"))
    try:
        header = tuple(name.strip() for name in next(reader, []))
    except csv.Error as error:
        raise CatalogueError(f"{uri}: the header is not CSV: {error}") from error
    return Table(
        header,
        "line",
        lambda _: _csv_rows(uri, reader, header, lambda: unfinished and stream.tell() == len(text)),
    )


def _csv_rows(uri: str, reader: Any, header: tuple[str, ...], ends_unfinished: Callable[[], bool]) -> Rows:
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error):
                message = f"{uri}: a quote that opens in or after line {line} is never closed"
                raise CatalogueError(message) from error
            yield line, RowProblem("not CSV", f"not CSV: {error}")
            continue
        if not fields:
            continue
        if len(fields) != len(header):
            detail = f"it has {len(fields)} fields, the header {len(header)}"
            if len(fields) < len(header) and ends_unfinished():
                yield line, RowProblem(CUT_OFF, f"the table ends in the middle of this line: {detail}")
            else:
                yield line, RowProblem("wrong number of fields", detail)
        else:
            yield line, dict(zip(header, fields, strict=True))


def _parquet(uri: str, data: bytes) -> Table:
    with _readable(uri):
        file = pq.ParquetFile(pa.BufferReader(data))
        schema = file.schema_arrow
        header = tuple(schema.names)
    no_text = {column.name for column in schema if any(is_kind(column.type) for is_kind in _NO_TEXT)}

    def rows(names: Sequence[str]) -> Rows:
        with _readable(uri):
            table = file.read(columns=names)
        line = 0
        for batch in table.to_batches(max_chunksize=10_000):
            for values in zip(*(_values_of(batch[name]) for name in names), strict=True):
                line += 1
                yield line, dict(zip(names, values, strict=True))

    return Table(header, "row", rows, frozenset(no_text))


@contextmanager
def _readable(uri: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CatalogueError(f"{uri} is not readable as Parquet: {_first_line(error)}") from error


def _values_of(column: pa.Array) -> list[Any]:
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
