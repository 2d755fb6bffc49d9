"""How alike a query and what is found are, on a scale that means the same for every query and every catalogue.

Enters: Hamming distances of the nearest listings and the distribution that the index keeps of its own photos
(`index.likeness`). Leaves: a likeness from 0 to 1, the same in words, and whether nothing looks like the query at all.

An answer is judged by the mean distance of its five nearest: one listing may be near by chance. But where a single
listing is nearer than half of the catalogue's own photos are to their nearest, it is what was looked for, and alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lookalike.index.likeness import NEAREST, Likeness

SAME, MUCH, ALIKE, LITTLE, NOT = (
    "the same photo",
    "very much alike",
    "alike",
    "a little alike",
    "not alike",
)
_MUCH, _ALIKE = 0.6, 0.25
_FOUND = 0.5
"""Likeness of the nearest listing from which on something was found, however far the others are."""


def by_shape(code: np.ndarray, bits: tuple[int, int]) -> np.ndarray:
    """Weights f32[bits] by which the expected distance is that of some `bits` of `code`, and half of the others."""
    weights = np.full(8 * len(code), 0.5, np.float32)
    weights[bits[0] : bits[1]] = np.unpackbits(code)[bits[0] : bits[1]]
    return weights


def shape_distances(expected: np.ndarray, bits: int, compared: tuple[int, int]) -> np.ndarray:
    """Distances f64[m] in the bits `compared`, from those by the weights of `by_shape` of codes of so many `bits`."""
    found: np.ndarray = np.rint(expected.astype(np.float64) - (bits - (compared[1] - compared[0])) / 2)
    return found


@dataclass(frozen=True, slots=True)
class Judged:
    """What an answer as a whole is worth."""

    likeness: float | None = None
    """0 to 1; None where the index has no measure of it or nothing was found."""
    nothing_alike: bool = False


UNKNOWN = Judged()


def judge(measure: Likeness | None, distances: np.ndarray, least: float) -> Judged:
    """Judge an answer by the `distances` of its nearest listings, nearest first: it has to have `least` likeness."""
    if measure is None or not len(distances):
        return UNKNOWN
    together, alone = measure.of(np.array([distances[:NEAREST].mean(), distances[0]])).tolist()
    return Judged(round(together, 4), together < least and alone < _FOUND)


def in_words(likeness: float, least: float, *, same_photo: bool) -> str:
    """A hit's likeness for people."""
    if same_photo:
        return SAME
    for from_, words in ((max(_MUCH, least), MUCH), (max(_ALIKE, least), ALIKE), (least, LITTLE)):
        if likeness >= from_:
            return words
    return NOT


def in_words_of(
    measure: Likeness | None, least: float, distances: np.ndarray | None, same: Sequence[bool]
) -> list[tuple[float | None, str | None]]:
    """The likeness of hits at these distances f64[m], as a number and in words; None where they are not known."""
    if measure is None or distances is None:
        return [(None, None)] * len(same)
    likenesses = [round(each, 4) for each in measure.of(distances).tolist()]
    return [
        (each, in_words(each, least, same_photo=itself))
        for each, itself in zip(likenesses, same, strict=True)
    ]
