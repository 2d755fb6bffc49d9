"""A catalogue's table, whatever its format: a header, and named values row by row.

`sources` makes tables of files, feeds and databases; `shaping` gives them our columns. A row, or a value, that cannot
be read is a `RowProblem` in its place; a table that cannot, a `CatalogueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

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
    """The rows, with these columns at least; every call begins anew."""
    no_text: frozenset[str] = frozenset()
    """Columns of structs and maps, which no value of a listing can be taken from."""
    ignored: tuple[str, ...] = ()
    """Columns of the export that a preset has no use for."""
    notes: list[str] = field(default_factory=list)
    """What a person should know of how it was read; more may come while its rows are read."""

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same table, some of whose columns are called otherwise: old name -> new name."""
        before = {new: old for old, new in names.items()}

        def rows(asked: Sequence[str]) -> Rows:
            for line, row in self.rows([before.get(name, name) for name in asked]):
                yield (
                    line,
                    row
                    if isinstance(row, RowProblem)
                    else {names.get(name, name): value for name, value in row.items()},
                )

        header = tuple(names.get(name, name) for name in self.header)
        return replace(
            self, header=header, rows=rows, no_text=frozenset(names.get(x, x) for x in self.no_text)
        )

    def first(self, count: int) -> Table:
        """The same table as if it ended after so many rows."""
        return replace(self, rows=lambda names: islice(self.rows(names), count))
