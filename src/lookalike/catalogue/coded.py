"""Columns of text as numbers: each text once, in order, and of each row which it is.

A column of any length enters batch by batch. Some megabytes of it at a time are put in order (a *run*), and runs that
lie on a shelf are merged range by range, so no more than a range and the numbers is ever in memory.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.shelf import Places, Shelf

_SAMPLED = 512
"""Texts of a run by which ranges are cut."""


@dataclass(frozen=True, slots=True)
class Coded:
    """A column of text as numbers."""

    codes: Places
    """Place of each text in `values`; -1 where it is empty."""
    values: pa.StringArray
    """Each text once, in order."""

    @classmethod
    def of(cls, column: Iterable[pa.StringArray], shelf: Shelf | None = None) -> Self:
        """Of a column that comes in parts and has no nulls."""
        shelf = shelf or Shelf()
        runs, codes = [], []
        for part in _cut(column, shelf.at_once):
            run, own = _run(part)
            runs.append(shelf.texts([run]))
            codes.append(own)
        values, numbers = _merged(runs, shelf)
        empty = int(len(values) > 0 and values[0].as_py() == "")
        for own, number in zip(codes, numbers, strict=True):
            own[:] = number[own] - empty
        return cls(shelf.keep(np.concatenate([np.zeros(0, np.int32), *codes])), values[empty:])

    def take(self, rows: NDArray[np.integer], shelf: Shelf | None = None) -> Coded:
        """Of these rows; `values` stay."""
        codes = self.codes[rows]
        return Coded(shelf.keep(codes) if shelf else codes, self.values)

    def texts(self) -> pa.StringArray:
        """The column, null where it is empty."""
        return self.values.take(pa.array(self.codes, mask=self.codes < 0))

    def __len__(self) -> int:
        return len(self.codes)


def _cut(column: Iterable[pa.StringArray], size: int) -> Iterator[pa.ChunkedArray]:
    """The same in parts of about so many bytes."""
    held: list[pa.StringArray] = []
    for chunk in column:
        step = max(1, len(chunk) * size // max(1, chunk.nbytes))
        for at in range(0, len(chunk), step):
            held.append(chunk.slice(at, step))
            if sum(x.nbytes for x in held) >= size:
                yield pa.chunked_array(held, pa.string())
                held = []
    if held:
        yield pa.chunked_array(held, pa.string())


def _run(part: pa.ChunkedArray) -> tuple[pa.StringArray, Places]:
    """Each text once, in order, and of each row which it is."""
    if not len(part):
        return pa.array([], pa.string()), np.zeros(0, np.int32)
    coded = part.dictionary_encode()
    values = coded.chunk(0).dictionary
    order = pc.sort_indices(values)
    place = np.empty(len(values), np.int32)
    place[order.to_numpy()] = np.arange(len(values), dtype=np.int32)
    return values.take(order), place[np.concatenate([chunk.indices.to_numpy() for chunk in coded.chunks])]


def _merged(runs: Sequence[pa.StringArray], shelf: Shelf) -> tuple[pa.StringArray, list[Places]]:
    """The texts of all runs, each once, in order; and of those of each run which they are."""
    if len(runs) < 2:
        return (runs[0] if runs else pa.array([], pa.string())), [
            np.arange(len(x), dtype=np.int32) for x in runs
        ]
    numbers = [np.empty(len(run), np.int32) for run in runs]

    def ranges() -> Iterator[pa.StringArray]:
        found = 0
        starts = [0] * len(runs)
        for bound in [*_bounds(runs, shelf.at_once), None]:
            ends = [len(run) if bound is None else below(run, bound) for run in runs]
            own = [run.slice(a, b - a) for run, a, b in zip(runs, starts, ends, strict=True)]
            values, codes = _run(pa.chunked_array(own, pa.string()))
            at = 0
            for number, a, b in zip(numbers, starts, ends, strict=True):
                number[a:b] = codes[at : at + b - a] + np.int32(found)
                at += b - a
            found += len(values)
            starts = ends
            yield values

    return shelf.texts(ranges()), numbers


def _bounds(runs: Sequence[pa.StringArray], size: int) -> list[str]:
    """Texts that cut all runs together into ranges of about so many bytes."""
    count = sum(run.nbytes for run in runs) // max(1, size)
    sample: list[str] = []
    for run in runs:
        sample += run.take(pa.array(np.arange(0, len(run), max(1, len(run) // _SAMPLED)))).to_pylist()
    sample.sort(key=str.encode)
    return list(dict.fromkeys(sample[at * len(sample) // (count + 1)] for at in range(1, count + 1)))


def below(texts: pa.StringArray, text: str, *, inclusive: bool = False) -> int:
    """How many of these, which are in order, come before `text`, or are it."""
    bisect = bisect_right if inclusive else bisect_left
    return bisect(range(len(texts)), text.encode(), key=lambda at: texts[at].as_py().encode())
