"""Sketches: the light of 8 x 8 cells of each print of a photo, and how they bring together what may be copies.

Copies differ all over by little, or much in one corner, where a badge is. So photos are put in order ten times, by the
light of the whole and of each half of either print, and those that stand near each other in one order, and are alike in
that *view*, are candidates. An order is that of 64 bits, each the side of a plane that a vector lies on (Charikar
2002), so that near ones share their first bits, more of them where photos lie dense.

An order is cut into *blocks* at photos whose ids say so, some `BLOCK` long; photos of one block and the next, a
*stretch*, are held against each other. So what is compared follows from the set of photos alone, grows with their
number, and one photo more or less touches two stretches of each order. All sums are of whole numbers: they are the same
on every machine, in any company.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.alignment import gain_of

SKETCH_BYTES = 2 * 8 * 8
BLOCK = 64
"""Photos of a block, in the mean."""
_ALIKE = 0.9
"""Correlation of two candidates in a view, at least; copies cropped by 4 % have 0.91 in four views of ten or more."""
_APART = 12.0
"""Grey levels by which the four fifths of 8 x 8 cells that differ least differ on average, at most; crops by 4 % reach
11."""
_CONTRAST = 2
"""Grey levels by which some cell of a view differs from its mean, at least; a plain one tells nothing."""
_LIGHT = np.array([77, 150, 29], np.uint32)  # of 256
_ROWS = 32_768

_ALL, _FIRST, _LAST = slice(0, 8), slice(0, 4), slice(4, 8)
_VIEWS = tuple(
    (which, down, across)
    for which in (0, 1)
    for down, across in ((_ALL, _ALL), (_FIRST, _ALL), (_LAST, _ALL), (_ALL, _FIRST), (_ALL, _LAST))
)
VIEWS = len(_VIEWS)


def sketches_of(prints: np.ndarray) -> NDArray[np.uint8]:
    """uint8[n, 2, 8, 8]: the light of cells of uint8[n, 2, 32, 32, 3]."""
    cells = prints.reshape(len(prints), 2, 8, 4, 8, 4, 3).sum(axis=(3, 5), dtype=np.uint32)
    light: NDArray[np.uint8] = (((cells * _LIGHT).sum(axis=-1) + 2048) >> 12).astype(np.uint8)
    return light


@dataclass(frozen=True, slots=True)
class Order:
    """All photos in the order of one view."""

    view: int
    rows: NDArray[np.int64]
    """Photos by their place."""
    vectors: NDArray[np.int8]
    """Of each photo, by its row: whole numbers, zeros where the view is plain."""
    starts: NDArray[np.int64]
    """The first place of each block, and the number of photos."""

    @classmethod
    def of(cls, view: int, sketches: NDArray[np.uint8], ids: NDArray[np.uint64]) -> Order:
        """The order of photos that are sorted by `ids`, uint64[n]: the head of an MD5 each."""
        parts = [_placed(view, sketches[at : at + _ROWS]) for at in range(0, len(sketches), _ROWS)]
        vectors = np.concatenate([part[0] for part in parts])
        rows = np.argsort(np.concatenate([part[1] for part in parts]), kind="stable")
        starts = np.flatnonzero(ids[rows] % np.uint64(BLOCK) == 0)
        return cls(view, rows, vectors, np.unique([0, *starts, len(rows)]))

    def stretches(self) -> Iterator[NDArray[np.int64]]:
        """The rows of each block and the next."""
        for at in range(max(1, len(self.starts) - 2)):
            yield self.rows[self.starts[at] : self.starts[min(at + 2, len(self.starts) - 1)]]

    def alike(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[n, n]: which of `rows` are alike in this view, each pair once."""
        vectors = self.vectors[rows].astype(np.float32)  # products of so small whole numbers are exact
        lengths = np.sqrt((vectors * vectors).sum(axis=1))
        return np.triu(vectors @ vectors.T > _ALIKE * np.outer(lengths, lengths), 1)

    def near(self, pairs: NDArray[np.int64], sketches: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """bool[m]: which pairs that are alike in this view are candidates by the light of all of that print, too."""
        light = sketches[:, _VIEWS[self.view][0]]
        one, other = (light[pairs[:, n]].reshape(-1, 64) for n in (0, 1))
        return _apart(one, other) <= _APART

    def among(self, pairs: NDArray[np.int64], sketches: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Those of any pairs that are candidates in this order."""
        places = np.empty(len(self.rows), np.int64)
        places[self.rows] = np.arange(len(self.rows))
        blocks = np.searchsorted(self.starts, places[pairs], "right")
        pairs = pairs[abs(blocks[:, 0] - blocks[:, 1]) <= 1]
        one, other = (self.vectors[pairs[:, n]].astype(np.float32) for n in (0, 1))
        lengths = np.sqrt((one * one).sum(axis=1)) * np.sqrt((other * other).sum(axis=1))
        pairs = pairs[(one * other).sum(axis=1) > _ALIKE * lengths]
        return pairs[self.near(pairs, sketches)]


def _placed(view: int, sketches: NDArray[np.uint8]) -> tuple[NDArray[np.int8], NDArray[np.uint64]]:
    """Vectors of a view, and the bits that they are in order of."""
    which, down, across = _VIEWS[view]
    light = sketches[:, which, down, across].reshape(len(sketches), -1).astype(np.float32)
    size = light.shape[1]
    light = light * size - light.sum(axis=1, keepdims=True)
    most = abs(light).max(axis=1, keepdims=True)
    vectors = np.rint(light * np.where(most >= _CONTRAST * size, 127 / np.maximum(most, 1), 0))
    drawn = np.frombuffer(hashlib.shake_256(b"view %d" % view).digest(size * 8), np.uint8)
    planes = np.unpackbits(drawn).reshape(size, 64).astype(np.float32) * 2 - 1
    bits = np.packbits(vectors @ planes > 0, axis=1)
    return vectors.astype(np.int8), np.ascontiguousarray(bits).view(">u8")[:, 0].astype(np.uint64)


def _apart(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float32]:
    """f32[m]: how far the four fifths of cells that differ least differ on average, brightness set right."""
    a, b = one.astype(np.float32), other.astype(np.float32)
    gain = gain_of(a, b, True, few=6)[:, None]
    apart = abs(np.minimum(255, a * np.maximum(gain, 1)) - np.minimum(255, b * np.maximum(1 / gain, 1)))
    least: NDArray[np.float32] = np.sort(apart, axis=1)[:, : 4 * a.shape[1] // 5].mean(axis=1)
    return least
