"""Cells of one column of many rows become a column of Arrow; `fields` says what a cell means.

Most cells of a shop mean what stands there. A pattern tells these, and they pass as they are; of the others each
distinct text is asked about once, or, where a column holds anything but text, each cell. So the rules stand in `fields`
alone, and a million rows cost about as much as their distinct odd cells.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue import fields
from lookalike.catalogue.drafts import Spellings
from lookalike.catalogue.places import PLAIN, PLAIN_LENGTH, PhotoPlaces
from lookalike.catalogue.tables import RowProblem
from lookalike.columns import Column
from lookalike.errors import PhotoOutside, SettingsError
from lookalike.strict_json import plain

T = TypeVar("T")
Unclear = dict[int, dict[str, str]]
"""Place of a row -> column -> what was not understood."""

_END = r"[!-~\p{L}\p{N}]"
_TEXT = rf"(?s)^({_END}([^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*{_END})?)?$"
"""Begins and ends with what no one takes for a space, and has no control characters but tabs and line breaks."""
_ID = r"^[!-~]+$"
_FEW = 100_000
"""Distinct cells that are remembered of a column."""


def texts(cells: Sequence[Any]) -> pa.StringArray | None:
    """Cells as text, those that are empty as none; None where some are anything but text."""
    try:
        return pc.fill_null(pa.array(cells, pa.string()), "")
    except (pa.ArrowException, TypeError, UnicodeError):
        return None


def strings(values: Sequence[str | None]) -> pa.StringArray:
    """Halves of surrogate pairs, which JSON lets through, become U+FFFD."""
    try:
        return pa.array(values, pa.string())
    except UnicodeError:
        return pa.array([plain(value) for value in values], pa.string())


def is_plain(column: pa.StringArray, pattern: str, longest: int) -> NDArray[np.bool_]:
    """Which texts fit the pattern and have so many characters at most."""
    fits = pc.and_(pc.match_substring_regex(column, pattern), pc.less_equal(pc.utf8_length(column), longest))
    found: NDArray[np.bool_] = fits.to_numpy(zero_copy_only=False)
    return found


class Memory:
    """What was made of distinct cells of one column."""

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make
        self._known: dict[str, Any] = {}

    def of(self, cells: Sequence[Any]) -> tuple[list[Any], NDArray[np.int64]]:
        """Distinct results, and which of them each cell gives, in the order in which they come."""
        column = texts(cells)
        if column is None:
            return [self._make(cell) for cell in cells], np.arange(len(cells))
        coded = column.dictionary_encode()
        if len(self._known) > _FEW:
            self._known.clear()
        found = []
        for text in coded.dictionary.to_pylist():
            if text not in self._known:
                self._known[text] = self._make(text)
            found.append(self._known[text])
        return found, coded.indices.to_numpy().astype(np.int64)


def listing_ids(cells: Sequence[Any]) -> tuple[pa.StringArray, dict[int, RowProblem]]:
    """Ids, empty where there is none, and why."""
    return _needed(cells, fields.listing_id, _ID, fields.LONGEST["listing_id"])


def categories(cells: Sequence[Any], memory: Memory) -> tuple[pa.StringArray, dict[int, RowProblem]]:
    """Paths, empty where the row states none; and what is wrong. `memory` is of `category`."""
    found, codes = memory.of(cells)
    bad = [at for at, value in enumerate(found) if isinstance(value, RowProblem)]
    problems = {int(at): found[codes[at]] for at in np.flatnonzero(np.isin(codes, bad))} if bad else {}
    values = strings(["" if isinstance(value, RowProblem) else value for value in found])
    return values.take(pa.array(codes)), problems


def category(cell: Any) -> str | RowProblem:
    """What `Memory` is to remember of a category."""
    try:
        return fields.category(cell)
    except RowProblem as problem:
        return problem


def optional(name: str, cells: Sequence[Any], unclear: Unclear) -> pa.StringArray:
    """A column of text, empty where nothing is stated; what is not understood goes to `unclear`."""
    column = texts(cells)
    if column is None:
        told = [fields.optional(name, cell) for cell in cells]
        _note(unclear, name, ((at, why) for at, (_, why) in enumerate(told)))
        return strings([value for value, _ in told])
    odd = np.flatnonzero(~is_plain(column, _TEXT, fields.LONGEST_OTHER))
    if name == "split":
        odd = np.flatnonzero(pc.not_equal(column, "").to_numpy(zero_copy_only=False))
    if not len(odd):
        return column
    memory = Memory(lambda cell: fields.optional(name, cell))
    found, codes = memory.of(column.take(pa.array(odd)).to_pylist())
    if any(why for _, why in found):
        _note(unclear, name, ((int(at), found[code][1]) for at, code in zip(odd, codes, strict=True)))
    return _patched(column, odd, strings([value for value, _ in found]).take(pa.array(codes)))


def prices(cells: Sequence[Any], memory: Memory, unclear: Unclear) -> tuple[pa.DoubleArray, pa.StringArray]:
    """Numbers, and the currencies that they come with; `memory` is of `fields.price`."""
    found, codes = memory.of(cells)
    if any(why for _, _, why in found):
        _note(unclear, "price", ((at, found[code][2]) for at, code in enumerate(codes)))
    at = pa.array(codes)
    numbers = pa.array([number for number, _, _ in found], pa.float64())
    return numbers.take(at), strings([currency for _, currency, _ in found]).take(at)


def own(column: Column, cells: Sequence[Any], unclear: Unclear) -> pa.Array:
    """A shop's own column, null where nothing is stated."""
    if column.stored == "text":
        found = optional(column.name, cells, unclear)
        return pc.if_else(pc.equal(found, ""), None, found)
    told, codes = Memory(lambda cell: fields.own(column.name, cell)).of(cells)
    _note(unclear, column.name, ((at, told[code][1]) for at, code in enumerate(codes)))
    numbers = pa.array([None if number == "" else number for number, _ in told], pa.float64())
    return numbers.take(pa.array(codes))


def aspects(
    name: str, cells: Sequence[Any], memory: Memory, spellings: Spellings, unclear: Unclear
) -> pa.ListArray:
    """Lists of values as they were written first, null where there is none; `memory` is of `fields.values`."""
    found, codes = memory.of(cells)
    if any(why for _, why in found):
        _note(unclear, name, ((at, found[code][1]) for at, code in enumerate(codes)))
    spelled = [[*dict.fromkeys(spellings.all_of(name, values))] or None for values, _ in found]
    try:
        lists = pa.array(spelled, pa.list_(pa.string()))
    except UnicodeError:
        lists = pa.array(plain(spelled), pa.list_(pa.string()))
    return lists.take(pa.array(codes))


def images(
    columns: dict[str, Sequence[Any]], places: PhotoPlaces
) -> tuple[pa.ListArray, dict[int, list[RowProblem]]]:
    """The photos that rows name, each once, and what is wrong with others, by the place of the row."""
    read = {name: texts(cells) for name, cells in columns.items()}
    rows = len(next(iter(columns.values())))
    odd = np.zeros(rows, bool)
    for column in read.values():
        empty = pc.equal(column, "").to_numpy(zero_copy_only=False) if column is not None else odd
        odd |= ~(is_plain(column, PLAIN, PLAIN_LENGTH) | empty) if column is not None else True
    if len(read) == 1 and column is not None and not odd.any():
        there = pc.not_equal(column, "")
        ends = np.cumsum(there.to_numpy(zero_copy_only=False), dtype=np.int32)
        offsets = pa.array(np.append(np.int32(0), ends))
        return pa.ListArray.from_arrays(offsets, column.filter(there)), {}
    found: list[list[str]] = []
    problems: dict[int, list[RowProblem]] = {}
    for at, cells in enumerate(zip(*columns.values(), strict=True)):
        if not odd[at]:
            found.append(list(dict.fromkeys(cell for cell in cells if cell)))
            continue
        good, wrong = _images(dict(zip(columns, cells, strict=True)), places)
        found.append(good)
        if wrong:
            problems[at] = wrong
    try:
        return pa.array(found, pa.list_(pa.string())), problems
    except UnicodeError:
        return pa.array(plain(found), pa.list_(pa.string())), problems


def _images(cells: dict[str, Any], places: PhotoPlaces) -> tuple[list[str], list[RowProblem]]:
    good: dict[str, None] = {}
    problems: list[RowProblem] = []
    for name, cell in cells.items():
        for image in fields.images(name, cell):
            if isinstance(image, RowProblem):
                problems.append(image)
                continue
            try:
                places.check(image)
                good[image] = None
            except PhotoOutside as error:
                problems.append(RowProblem("outside the catalogue", str(error)))
            except SettingsError:
                problems.append(RowProblem("malformed image", f"not a usable place of a photo: {image!r}"))
    return list(good), problems


def _needed(
    cells: Sequence[Any], meaning: Callable[[Any], str], pattern: str, longest: int
) -> tuple[pa.StringArray, dict[int, RowProblem]]:
    problems: dict[int, RowProblem] = {}

    def asked(at: int, cell: Any) -> str:
        try:
            return meaning(cell)
        except RowProblem as problem:
            problems[at] = problem
            return ""

    column = texts(cells)
    if column is None:
        return strings([asked(at, cell) for at, cell in enumerate(cells)]), problems
    odd = np.flatnonzero(~is_plain(column, pattern, longest))
    if not len(odd):
        return column, problems
    told = [asked(at, cells[at]) for at in odd.tolist()]
    return _patched(column, odd, strings(told)), problems


def _patched(column: pa.StringArray, places: NDArray[np.int64], values: pa.StringArray) -> pa.StringArray:
    mask = np.zeros(len(column), bool)
    mask[places] = True
    return pc.replace_with_mask(column, pa.array(mask), values)


def _note(unclear: Unclear, name: str, told: Any) -> None:
    for at, why in told:
        if why:
            unclear.setdefault(int(at), {})[name] = why
