"""JSON lines: one object a line. A line that is none is left out; a list is a cell of several values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lookalike.catalogue.sources.delimited import checked_header
from lookalike.catalogue.sources.files import TableFile
from lookalike.catalogue.tables import CUT_OFF, RowProblem, Rows, Table
from lookalike.errors import CatalogueError

_LOOKED_AT = 1_000
"""Lines whose keys make the header."""
_LONGEST_LINE = 16 << 20


def json_lines(file: TableFile) -> Table:
    """The table in `file`. Raises `CatalogueError`."""
    keys: dict[str, None] = {}
    objects: set[str] = set()
    for number, (_, values) in enumerate(_objects(file)):
        if isinstance(values, dict):
            keys |= dict.fromkeys(values)
            checked_header(file.uri, tuple(keys))
            objects.update(name for name, value in values.items() if isinstance(value, dict))
        if number == _LOOKED_AT:
            break
    if not keys:
        raise CatalogueError(
            f"{file.uri}: the first line is no JSON object; is it JSON lines, one object a line?"
        )

    def rows(_: object) -> Rows:
        for line, values in _objects(file):
            yield (
                line,
                values if isinstance(values, RowProblem) else dict.fromkeys(keys) | values,
            )

    return Table(tuple(keys), "line", rows, frozenset(objects))


def _objects(file: TableFile) -> Iterator[tuple[int, dict[str, Any] | RowProblem]]:
    with file.open() as stream:
        number = 0
        while data := stream.readline(_LONGEST_LINE):
            number += 1
            if len(data) == _LONGEST_LINE and not data.endswith(b"\n"):
                raise CatalogueError(f"{file.uri}: line {number} is longer than {_LONGEST_LINE:,} bytes")
            text = data.removeprefix(b"\xef\xbb\xbf").strip()
            if text:
                yield number, _object(text, whole=data.endswith(b"\n"))


def _object(text: bytes, *, whole: bool) -> dict[str, Any] | RowProblem:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not whole:
            return RowProblem(CUT_OFF, "the table ends in the middle of this line")
        return RowProblem("not JSON", f"not JSON: {error or 'too deep'}")
    if not isinstance(values, dict):
        return RowProblem("not JSON", "not a JSON object")
    return values
