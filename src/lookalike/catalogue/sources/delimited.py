"""CSV and its kin: text of any common encoding and delimiter enters, rows leave.

The encoding is told by a byte order mark, by zeros (UTF-16), or else it is UTF-8. Text that is no UTF-8 at all is
Windows-1252, as spreadsheet programs of western Europe and America save it; text that is UTF-8 but for a damaged byte
is refused with the line, since reading it as anything else would spoil every accent in silence.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from lookalike.catalogue.sources.files import TableFile
from lookalike.catalogue.tables import CUT_OFF, RowProblem, Rows, Table
from lookalike.errors import CatalogueError

MOST_COLUMNS = 2_000
"""Columns of a table, in any format."""
LONGEST_FIELD = 16 << 20
"""Characters of one field; beyond, a quote was opened and never closed."""
_DELIMITERS = ",;\t|"
_MOST_BEFORE = 20
"""Lines in which the header must begin."""
_STEP = 1 << 20
_NOT_ASCII = re.compile(rb"[\x80-\xff]+")
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it begins with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def delimited(file: TableFile, *, encoding: str = "", overflow: bool = False) -> Table:
    """The table in `file`. `encoding` is told where it is not given.

    With `overflow`, fields beyond the header belong to the last column: an export that does not quote its titles.
    Raises `CatalogueError`.
    """
    encoding, note = (_known(file.uri, encoding), "") if encoding else _encoding(file)
    with _text(file, encoding) as text:
        before, delimiter = _beginning(text)
    dialect: dict[str, Any] = {"delimiter": delimiter, "strict": True}
    if _escapes_by_backslash(file, encoding):
        dialect |= {"escapechar": "\\", "doublequote": False}
    with _text(file, encoding, before) as text:
        header = _header(file.uri, csv.reader(text, **dialect))
    unfinished = not file.size or not _ends_in_a_newline(file)

    def rows(_: object) -> Rows:
        with _text(file, encoding, before) as text:
            lines = _Lines(text)
            reader = csv.reader(lines, **dialect)
            next(reader, None)
            joint = ", " if delimiter == "," else delimiter
            mend = _Overflow(joint) if overflow else None
            yield from _rows(file.uri, reader, header, before, lambda: unfinished and lines.ended(), mend)
            notes[:] = [*told, *(mend.notes() if mend else ())]

    told = [note] if note else []
    notes = list(told)
    return Table(header, "line", rows, notes=notes)


class _Overflow:
    """Puts fields beyond the header into the last column, and remembers where."""

    def __init__(self, joint: str) -> None:
        self._joint = joint
        self._lines = 0
        self._first = 0

    def mended(self, line: int, fields: list[str], columns: int) -> list[str]:
        if len(fields) <= columns:
            return fields
        self._lines += 1
        self._first = self._first or line
        last = self._joint.join(part.strip() for part in fields[columns - 1 :])
        return [*fields[: columns - 1], last]

    def notes(self) -> list[str]:
        if not self._lines:
            return []
        return [
            f"{self._lines:,} lines have more fields than the header, first line {self._first}; "
            "they were read into the last column"
        ]


class _Lines:
    """Lines of a text, one of which is known to be the last once it has been given."""

    def __init__(self, text: TextIO) -> None:
        self._lines = iter(text)
        self._next = next(self._lines, None)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._next
        if line is None:
            raise StopIteration
        self._next = next(self._lines, None)
        return line

    def ended(self) -> bool:
        return self._next is None


@contextmanager
def _text(file: TableFile, encoding: str, before: int = 0) -> Iterator[TextIO]:
    """The text after so many lines."""
    csv.field_size_limit(LONGEST_FIELD)  # long fields are judged by us, row by row
    with file.open() as raw, io.TextIOWrapper(raw, encoding, _ON_ERROR.get(encoding), newline="") as text:
        try:
            for _ in range(before):
                text.readline()
            yield text
        except UnicodeDecodeError as error:  # of an encoding that its mark, or the shop, promised
            raise CatalogueError(f"{file.uri} is not {encoding}: {error.reason}") from error
        except UnicodeError as error:
            raise CatalogueError(f"{file.uri} is not {encoding}: {error}") from error


def _known(uri: str, encoding: str) -> str:
    try:
        return codecs.lookup(encoding).name
    except LookupError as error:
        raise CatalogueError(f"{uri}: no encoding is called {encoding!r}; try utf-8 or cp1252") from error


def _encoding(file: TableFile) -> tuple[str, str]:
    """The encoding of its text, and what is to be said of it."""
    start = file.start()
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name, ""
    zeros = start[:512].count(0)
    if zeros and 0.4 < zeros / len(start[:512]) < 0.6:
        wide = "utf-16-le" if start[1:2] == b"\0" else "utf-16-be"
        return wide, ""
    good = bad = 0
    where = b"", 0
    line, rest = 1, b""
    with file.open() as stream:
        while (piece := stream.read(_STEP)) or rest:
            data = rest + piece
            cut = len(data) if not piece else _whole(data)
            for run in _NOT_ASCII.finditer(data, 0, cut):
                try:
                    run[0].decode()
                    good += 1
                except UnicodeDecodeError as error:
                    where = (
                        where
                        if bad
                        else (run[0][error.start :][:1], line + data.count(b"\n", 0, run.start()))
                    )
                    bad += 1
            line += data.count(b"\n", 0, cut)
            rest = data[cut:]
    if not bad:
        return "utf-8", ""
    if good >= bad:
        message = f"{file.uri} is not UTF-8: byte {where[0][0]:#04x} in line {where[1]}; save it as UTF-8"
        raise CatalogueError(message)
    return "cp1252", "the text is not UTF-8 and was read as Windows-1252"


def _whole(data: bytes) -> int:
    """Where to cut, so that no run of other than ASCII is parted."""
    cut = len(data)
    while cut and data[cut - 1] >= 0x80:
        cut -= 1
    return cut or len(data)


def _lenient(error: UnicodeError) -> tuple[str, int]:
    """The five bytes that Windows-1252 leaves open, as Latin-1 has them."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return error.object[error.start : error.end].decode("latin-1"), error.end


codecs.register_error("lookalike-latin-1", _lenient)
_ON_ERROR = {"cp1252": "lookalike-latin-1"}


def _beginning(text: TextIO) -> tuple[int, str]:
    """Lines before the header, and the delimiter: the one that the header has most of, outside of quotes.

    Before it may stand empty lines, a title or comment (a line without a delimiter, where one with two or more
    follows), and Excel's ``sep=;``.
    """
    lines = [text.readline(1 << 20) for _ in range(_MOST_BEFORE)]
    bare = [re.sub(r'"[^"]*"', "", line).strip("\r\n") for line in lines]
    told = [re.fullmatch(r"sep=(.)", line) for line in bare]
    parted = [max(map(line.count, _DELIMITERS)) for line in bare]
    at = next((n for n, found in enumerate(told) if found and not any(map(str.strip, lines[:n]))), None)
    if at is not None and (found := told[at]):
        return next((n for n in range(at + 1, len(lines)) if lines[n].strip()), at + 1), found[1]
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    if not parted[first]:
        first = next((n for n in range(first, len(bare)) if parted[n] >= 2), first)
    best = max(_DELIMITERS, key=bare[first].count)
    return first, " " if best not in bare[first] and " " in bare[first].strip() else best


def _escapes_by_backslash(file: TableFile, encoding: str) -> bool:
    """Whether quotes inside of fields are written ``\\"``, as MySQL does, and nowhere doubled."""
    with _text(file, encoding) as text:
        start = text.read(_STEP)
    return '\\"' in start and not re.search(r'[^,;\t|\n"]""|""[^,;\t|\r\n"]', start)


def _header(uri: str, reader: Any) -> tuple[str, ...]:
    try:
        header = tuple(name.strip() for name in next(reader, []))
    except csv.Error as error:
        raise CatalogueError(f"{uri}: the header is not CSV: {error}") from error
    return checked_header(uri, header)


def checked_header(uri: str, header: tuple[str, ...]) -> tuple[str, ...]:
    """`header`, unless it has too many columns to be one. Raises `CatalogueError`."""
    if len(header) > MOST_COLUMNS:
        raise CatalogueError(f"{uri} has {len(header):,} columns; at most {MOST_COLUMNS:,} are read")
    return header


def _ends_in_a_newline(file: TableFile) -> bool:
    with file.open() as stream:
        stream.seek(max(0, file.size - 4))
        return stream.read().rstrip(b"\0").endswith((b"\n", b"\r"))


def _rows(
    uri: str,
    reader: Any,
    header: tuple[str, ...],
    before: int,
    ends_unfinished: Callable[[], bool],
    overflow: _Overflow | None,
) -> Rows:
    while True:
        line = before + reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "unexpected end of data" in str(error) or "field limit" in str(error):
                message = f"{uri}: a quote that opens in or after line {line} is never closed"
                raise CatalogueError(message) from error
            yield line, RowProblem("not CSV", f"not CSV: {error}")
            continue
        if not fields:
            continue
        if overflow is not None:
            fields = overflow.mended(line, fields, len(header))
        while len(fields) > len(header) and not fields[-1].strip():
            fields.pop()
        if len(fields) != len(header):
            detail = f"it has {len(fields)} fields, the header {len(header)}"
            if len(fields) < len(header) and ends_unfinished():
                yield line, RowProblem(CUT_OFF, f"the table ends in the middle of this line: {detail}")
            else:
                yield line, RowProblem("wrong number of fields", detail)
        else:
            yield line, dict(zip(header, fields, strict=True))
