"""A catalogue's table, whatever its format: a header, and named values row by row.

`sources` makes tables of files, feeds and databases; `shaping` gives them our columns. A row, or a value, that cannot
be read is a `RowProblem` in its place; a table that cannot, a `CatalogueError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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

    def first(self, count: int) -> Table:
        """The same table as if it ended after so many rows."""
        return replace(self, rows=lambda names: islice(self.rows(names), count))
