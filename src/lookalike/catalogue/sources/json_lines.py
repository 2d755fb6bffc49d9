"""JSON: one object a line, or one list of objects, by itself or as the only value of an object (``{"products": [``).

A line that is no object is left out; a list is a cell of several values. A list of objects is read object by object.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

from lookalike.catalogue.sources.delimited import checked_header
from lookalike.catalogue.sources.files import TableFile
from lookalike.catalogue.tables import CUT_OFF, RowProblem, Rows, Table
from lookalike.errors import CatalogueError

_LOOKED_AT = 1_000
"""Lines whose keys make the header."""
_LONGEST_LINE = 16 << 20
_STEP = 1 << 16
_LIST = re.compile(rb'(?:\xef\xbb\xbf)?\s*(\{\s*"[^"\\]{1,100}"\s*:\s*)?\[\s*(?=\{)')
_SEVERAL = re.compile(rb'.*?\}\s*\]\s*,\s*"', re.DOTALL)


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
    if (at := _list_in(file)) is not None:
        yield from _listed(file, at)
        return
    with file.open() as stream:
        number = 0
        while data := stream.readline(_LONGEST_LINE):
            number += 1
            if len(data) == _LONGEST_LINE and not data.endswith(b"\n"):
                raise CatalogueError(f"{file.uri}: line {number} is longer than {_LONGEST_LINE:,} bytes")
            text = data.removeprefix(b"\xef\xbb\xbf").strip()
            if text:
                yield number, _object(text, whole=data.endswith(b"\n"))


def _list_in(file: TableFile) -> int | None:
    """Where the one list of objects begins that the file holds; None where it holds lines."""
    start = file.start(1 << 16)
    found = _LIST.match(start)
    if found is None or found[1] is None:
        return None if found is None else found.end()
    line = start.partition(b"\n")[0]
    try:  # a whole object of several values begins alike
        return None if len(json.loads(line.removeprefix(codecs.BOM_UTF8))) > 1 else found.end()
    except (ValueError, RecursionError):
        return None if len(line) == len(start) and _SEVERAL.match(line, found.end()) else found.end()


def _listed(file: TableFile, at: int) -> Iterator[tuple[int, dict[str, Any] | RowProblem]]:
    decoder, scanner = codecs.getincrementaldecoder("utf-8")("replace"), json.JSONDecoder()
    number, text, ended = 0, "", False
    with file.open() as stream:
        stream.seek(at)
        while True:
            text = text.lstrip(" \t\r\n,")
            try:
                if text.startswith("]"):
                    return
                if not text:
                    raise ValueError
                values, end = scanner.raw_decode(text)
            except RecursionError as error:
                raise CatalogueError(f"{file.uri}: object {number + 1} is nested too deep") from error
            except ValueError:
                if ended:
                    if text:
                        yield number + 1, RowProblem(CUT_OFF, "the table ends in the middle of this object")
                    return
                if len(text) > _LONGEST_LINE:
                    message = (
                        f"{file.uri}: object {number + 1} is no JSON, or longer than {_LONGEST_LINE:,} bytes"
                    )
                    raise CatalogueError(message) from None
                data = stream.read(
                    max(_STEP, len(text))
                )  # twice as much each time, so that all is read twice at most
                ended = not data
                text += decoder.decode(data, ended)
                continue
            number += 1
            text = text[end:]
            yield number, values if isinstance(values, dict) else RowProblem("not JSON", "not a JSON object")


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
