"""Excel workbooks: the first sheet of an .xlsx file that holds anything, read row by row.

A cell that is a formula has the value that the program which saved the workbook stored beside it. Where a program
stored none, its row says so: nothing here computes formulas. A workbook is a zip file of XML, so it is judged before
it is opened: how much it unpacks to, and (by defusedxml, which openpyxl uses where it is there) that it declares no
entities.
"""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice
from typing import Any

from lookalike.catalogue.sources.delimited import checked_header
from lookalike.catalogue.sources.files import TableFile, check_not_bomb
from lookalike.catalogue.tables import RowProblem, Rows, Table
from lookalike.errors import CatalogueError, SettingsError

_MOST_BEFORE = 20
"""Rows in which the header must stand."""
_MOST_SHARED = 512 << 20
"""Bytes of the table of texts, which is held in memory."""


def excel(file: TableFile) -> Table:
    """The table in `file`. Raises `CatalogueError`, and `SettingsError` where openpyxl is not installed."""
    check_not_bomb(file)
    _check_parts(file)
    with _sheet(file) as sheet:
        top = list(islice(sheet.iter_rows(values_only=True), _MOST_BEFORE))
    at = _header_row(top)
    first = top[at] if top else ()
    header = checked_header(file.uri, tuple(_text(value).strip() for value in first))
    while header and not header[-1]:
        header = header[:-1]

    def rows(_: object) -> Rows:
        with _sheet(file) as sheet, _sheet(file, formulas=True) as asked:
            both = zip(sheet.iter_rows(values_only=True), asked.iter_rows(values_only=True), strict=False)
            for number, (values, written) in enumerate(both, 1):
                if number > at + 1 and any(cell is not None for cell in written):
                    cells = [_cell(*pair) for pair in zip(values, written, strict=False)][: len(header)]
                    cells += [""] * (len(header) - len(cells))
                    yield number, dict(zip(header, cells, strict=True))

    return Table(header, "row", rows)


@contextmanager
def _sheet(file: TableFile, *, formulas: bool = False) -> Iterator[Any]:
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError as error:
        raise SettingsError(
            f"{file.uri}: Excel files need openpyxl: pip install 'lookalike[sources]'"
        ) from error
    with file.open() as stream:
        try:
            with warnings.catch_warnings(
                action="ignore"
            ):  # about styles and validations, which mean nothing here
                book = load_workbook(stream, read_only=True, data_only=not formulas, keep_links=False)
                sheets = book.worksheets
                filled = (sheet for sheet in sheets if any(_filled(row) for row in _head(sheet)))
                sheet = next(filled, None)
                if sheet is None:
                    raise CatalogueError(f"{file.uri} has no sheet with anything in it")
                sheet.reset_dimensions()  # what the file says of its size may be wrong, or large
                yield sheet
        except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, TypeError, OSError) as error:
            raise CatalogueError(f"{file.uri} is not readable as Excel: {_first_line(error)}") from error
        except (SyntaxError, AttributeError, IndexError) as error:  # ParseError is a SyntaxError
            raise CatalogueError(f"{file.uri} is a damaged workbook: {_first_line(error)}") from error


def _header_row(top: Sequence[Sequence[Any]]) -> int:
    """The first row that holds anything; or, where that is a title alone, the first that has three cells or more."""
    filled = [sum(cell is not None for cell in row) for row in top]
    first = next((n for n, count in enumerate(filled) if count), 0)
    if filled and filled[first] == 1:
        return next((n for n, count in enumerate(filled) if count >= 3), first)
    return first


def _head(sheet: Any) -> Sequence[Sequence[Any]]:
    return list(sheet.iter_rows(max_row=3, max_col=50, values_only=True))


def _filled(row: Sequence[Any]) -> bool:
    return any(cell is not None for cell in row)


def _check_parts(file: TableFile) -> None:
    with file.open() as raw, zipfile.ZipFile(raw) as archive:
        for part in archive.infolist():
            if part.filename.endswith("sharedStrings.xml") and part.file_size > _MOST_SHARED:
                message = f"{file.uri} holds {part.file_size:,} bytes of text; save it as CSV"
                raise CatalogueError(message)
            if part.filename.endswith((".xml", ".rels")):
                with archive.open(part) as stream:
                    if re.search(rb"<!(DOCTYPE|ENTITY)", stream.read(4096)):
                        raise CatalogueError(
                            f"{file.uri} declares entities, which no workbook needs; refused"
                        )


def _cell(value: Any, written: Any) -> Any:
    if value is None and isinstance(written, str) and written.startswith("="):
        message = f"is a formula without a stored value: {written[:60]!r}; paste it as a value"
        return RowProblem("formula", message)
    return _text(value)


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # Excel has no whole numbers: an id is 17.0
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if isinstance(value, (date, datetime)) else str(value)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
