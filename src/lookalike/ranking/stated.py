"""What the listings of one partition state about themselves, asked for many rows at once.

Enters: a `Partition`, whose aspects are Arrow lists of dictionary codes. Leaves: numpy arrays. Values are looked up
in the dictionary once, so a question about rows touches integers only. The partitions of a segment have one dictionary
for each aspect, with all values of the snapshot; so they share what is made of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from lookalike.columns import NUMBER_PREFIX
from lookalike.index.pieces import read_only
from lookalike.index.reader import Partition
from lookalike.ranking.filters import Filters, number_of


@dataclass(frozen=True)
class _Dictionary:
    """The values of one aspect, by their codes."""

    values: tuple[str, ...]

    @cached_property
    def code_of(self) -> dict[str, int]:
        return {value: code for code, value in enumerate(self.values)}

    @cached_property
    def numbers(self) -> np.ndarray:
        """f64[values]: the values that are numbers, NaN where one is not."""
        return np.array([number_of(value) for value in self.values], np.float64)


Dictionaries = dict[int, _Dictionary]
"""Dictionaries by the place on the map that their values are read from."""


@dataclass(frozen=True, slots=True)
class _Column:
    """One aspect: row r has the dictionary codes `codes[offsets[r] : offsets[r + 1]]`."""

    offsets: np.ndarray
    codes: np.ndarray
    dictionary: _Dictionary


class StatedAspects:
    """The aspects, prices and filters of one partition."""

    def __init__(self, partition: Partition, shared: Dictionaries) -> None:
        """`shared` has the dictionaries of the index's other partitions, and gets those that are new."""
        self.partition = partition
        self._columns = {name: _column(lists, shared) for name, lists in partition.aspects.items()}

    def chances(self, aspect: str, probabilities: Mapping[str, float], rows: np.ndarray) -> np.ndarray:
        """Sum f64[m] of the `probabilities` of the values that each of `rows` i64[m] states."""
        column = self._columns.get(aspect)
        if column is None:
            return np.zeros(len(rows))
        code_of = column.dictionary.code_of
        weights = np.zeros(len(column.dictionary.values))
        for value, probability in probabilities.items():
            if value in code_of:
                weights[code_of[value]] = probability
        sums: np.ndarray = _sum_of_each(column.offsets, column.codes, weights, rows)
        return sums

    def of_rows(
        self, rows: np.ndarray, names: Iterable[str] | None = None
    ) -> list[dict[str, tuple[str, ...]]]:
        """What each of `rows` i64[m] states of the aspects `names`, or of all."""
        stated: list[dict[str, tuple[str, ...]]] = [{} for _ in rows]
        for name in self._columns if names is None else names:
            column = self._columns.get(name)
            if column is None:
                continue
            values = column.dictionary.values
            spans = zip(column.offsets[rows].tolist(), column.offsets[rows + 1].tolist(), strict=True)
            for said, (first, last) in zip(stated, spans, strict=True):
                if first < last:
                    said[name] = tuple([values[code] for code in column.codes[first:last].tolist()])
        return stated

    def having(self, aspect: str, values: Collection[str]) -> np.ndarray:
        """bool[n]: the rows that state at least one of `values`."""
        column = self._columns.get(aspect)
        if column is None:
            return np.zeros(len(self.partition), bool)
        code_of = column.dictionary.code_of
        return _with_any(column, [code_of[value] for value in values if value in code_of])

    def labelled(self, name: str, values: Collection[str]) -> np.ndarray:
        """bool[n]: the rows whose listing has one of `values` in a column of labels."""
        labels = self.partition.columns.get(name)
        if labels is None:
            return np.zeros(len(self.partition), bool)
        known = pc.is_in(labels.dictionary, pa.array(values, pa.utf8()))
        found: np.ndarray = known.take(labels.indices).fill_null(False).to_numpy(zero_copy_only=False)
        return found

    def within(self, name: str, low: float | None, high: float | None) -> np.ndarray:
        """bool[n]: the rows whose listing has a number between these, ends included; None: no bound."""
        numbers = self._numbers(name)
        if numbers is not None:
            return _between(numbers, low, high)
        column = self._columns.get(name)
        if column is None:
            return np.zeros(len(self.partition), bool)
        return _with_any(column, np.flatnonzero(_between(column.dictionary.numbers, low, high)))

    def _numbers(self, name: str) -> np.ndarray | None:
        """f64[n] of a column of numbers, NaN where there is none; None: no such column."""
        if name == "price":
            return self.partition.prices
        columns = self.partition.columns
        column = columns.get(NUMBER_PREFIX + name, columns.get(name))
        if column is None or not pa.types.is_floating(column.type):
            return None
        numbers: np.ndarray = column.to_numpy(zero_copy_only=False)
        return numbers

    def passing(self, filters: Filters) -> np.ndarray:
        """bool[n]: the rows that pass all of `filters`."""
        passes = np.ones(len(self.partition), bool)
        for aspect, values in filters.aspects:
            passes &= self.having(aspect, values)
        for aspect, values in filters.aspects_not:
            passes &= ~self.having(aspect, values)
        for name, values in filters.labels:
            passes &= self.labelled(name, values)
        for name, values in filters.labels_not:
            passes &= ~self.labelled(name, values)
        for name, low, high in filters.ranges:
            passes &= self.within(name, low, high)
        if filters.price_from is not None or filters.price_to is not None:
            passes &= self.within("price", filters.price_from, filters.price_to)
        return passes

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many listings that are not dead state each value of each aspect."""
        totals = {}
        counted = self._counted()
        for name, column in self._columns.items():
            codes = column.codes
            if counted is not None and len(codes):
                codes = codes[np.repeat(counted, np.diff(column.offsets))]
            if not len(codes):
                continue
            numbers, values = np.bincount(codes), column.dictionary.values
            totals[name] = {values[code]: int(numbers[code]) for code in np.flatnonzero(numbers).tolist()}
        return totals

    def _counted(self) -> np.ndarray | None:
        """bool[n]: the first row of each listing that is not dead; None where that is every row."""
        part = self.partition
        if part.firsts is None:
            return None if part.alive is None else part.alive_mask()
        counted = np.zeros(len(part), bool)
        counted[part.firsts] = True
        return counted & part.alive_mask()


def _with_any(column: _Column, codes: Sequence[int] | np.ndarray) -> np.ndarray:
    """bool[n]: the rows that have at least one of these dictionary codes."""
    running = np.concatenate([[0], np.cumsum(np.isin(column.codes, codes))])
    hits: np.ndarray = running[column.offsets[1:]] > running[column.offsets[:-1]]
    return hits


def _between(numbers: np.ndarray, low: float | None, high: float | None) -> np.ndarray:
    """bool[n]; a NaN, no number, passes no comparison."""
    least, most = -np.inf if low is None else low, np.inf if high is None else high
    found: np.ndarray = (numbers >= least) & (numbers <= most)
    return found


@njit(nogil=True, cache=True)
def _sum_of_each(offsets: np.ndarray, codes: np.ndarray, weights: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """f64[m]: the sum of the `weights` of the codes that each of `rows` has."""
    sums = np.zeros(len(rows))
    for i in range(len(rows)):
        for at in range(offsets[rows[i]], offsets[rows[i] + 1]):
            sums[i] += weights[codes[at]]
    return sums


def _column(lists: pa.ListArray, shared: Dictionaries) -> _Column:
    # Views on the map: copies would be most of a ranker's memory.
    offsets = read_only(lists.offsets.to_numpy())
    codes = read_only(lists.values.indices.to_numpy())
    values = lists.values.dictionary
    place = values.buffers()[1].address
    if place not in shared:
        shared[place] = _Dictionary(tuple(values.to_pylist()))
    return _Column(offsets, codes, shared[place])
