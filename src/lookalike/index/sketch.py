"""Sketches: 16 bytes a row that bound its Hamming distance to any query from below.

The bits of a category are put into 16 groups; a row's sketch holds, for each group, how many of its bits are set. If
two rows differ by c in the count of a group, they differ in at least c bits of it, so the sum of those differences
over the groups is never more than the Hamming distance. The bound is tight where the bits of a group rise and fall
together, so bits are grouped by correlation, and a bit that runs against its group is flipped first (XOR with a
mask changes no distance). Subtracting a constant and cutting counts to a byte only makes differences smaller.

`fit` gives the same grouping on every machine: its sums are of whole numbers below 2^53, which no order of adding
can change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from lookalike.index import kernels
from lookalike.index.segment import SKETCH_PLANES, grouping_length

MIN_ROWS = 1 << 15
"""Rows of a category from which on it gets a sketch: below, a plain scan takes half a millisecond."""
SAMPLE = 512
"""Rows that a grouping is fitted to."""
_ROUNDS = 5
_WORTHWHILE = 0.25
"""A sketch that leaves more than this part of the sample to be read is dropped."""

Codes = npt.NDArray[np.uint8]
Counter = Callable[[Codes], Codes]


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """The group of each bit, uint8[bits]; whether it is flipped, bool[bits]; what is subtracted, int64[16]."""

    groups: npt.NDArray[np.uint8]
    flips: npt.NDArray[np.bool_]
    base: npt.NDArray[np.int64]

    def to_letters(self) -> bytes:
        """A letter for each bit, A to P, lower case where it is flipped; then the base as 16 x 4 hexadecimal digits."""
        letters = self.groups + np.where(self.flips, ord("a"), ord("A")).astype(np.uint8)
        return letters.tobytes() + "".join(f"{b:04x}" for b in self.base.tolist()).encode()

    @classmethod
    def from_letters(cls, letters: bytes, bits: int) -> Self | None:
        """The inverse; None where there is no sketch (all dashes). Raises `ValueError`."""
        if letters == b"-" * grouping_length(bits):
            return None
        text = np.frombuffer(letters, np.uint8, bits)
        flips = text >= ord("a")
        groups = text - np.where(flips, ord("a"), ord("A")).astype(np.uint8)
        if groups.max() >= SKETCH_PLANES:
            raise ValueError("a letter is not one of A to P")
        digits = letters[bits:].decode("ascii")
        if not set(digits) <= set("0123456789abcdef"):
            raise ValueError("a base is not a hexadecimal number")
        base = [int(digits[i : i + 4], 16) for i in range(0, len(digits), 4)]
        return cls(groups, flips, np.array(base, np.int64))

    def counter(self) -> Counter:
        """The function from codes uint8[n, bits / 8] to sketches uint8[16, n]."""
        flips = np.packbits(self.flips).view(np.uint64)
        members = self.groups == np.arange(SKETCH_PLANES, dtype=np.uint8)[:, None]
        masks = np.packbits(members, axis=1).view(np.uint64)

        def count(codes: Codes) -> Codes:
            planes = np.empty((SKETCH_PLANES, len(codes)), np.uint8)
            words = codes.view(np.uint64)
            words.flags.writeable = False  # as elsewhere, so that Numba compiles one version
            kernels.group_counts(words, flips, masks, self.base, planes)
            return planes

        return count


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """The sketches of a partition: planes uint8[16, at least its rows], and what makes one of a query's code."""

    grouping: Grouping
    planes: Codes
    count: Counter


def fit(sample: Codes) -> Grouping | None:
    """The grouping for a category of which `sample` uint8[n, bits / 8] are some rows; None if it would not pay."""
    bits = np.unpackbits(sample, axis=1).T.astype(np.float64)
    n = bits.shape[1]
    signed = bits * n - bits.sum(axis=1, keepdims=True)  # n times the difference from the mean: whole numbers
    centres = _whole(signed[_spread(signed)])
    for _ in range(_ROUNDS):
        groups, flips = _assign(signed, centres)
        member = (groups[:, None] == np.arange(SKETCH_PLANES)) * np.where(flips, -1.0, 1.0)[:, None]
        centres = _whole(member.T @ signed)
    groups, flips = _assign(signed, centres)
    flips = np.where(
        signed.any(axis=1), flips, bits[:, 0] > 0
    )  # constant bits count what differs from the constant
    grouping = Grouping(groups, flips, np.zeros(SKETCH_PLANES, np.int64))
    turned = bits != flips[:, None]
    member = groups[:, None] == np.arange(SKETCH_PLANES)
    base = (member.T.astype(np.float64) @ turned).min(axis=1).astype(np.int64)
    grouping = Grouping(groups, flips, np.maximum(base - 16, 0))
    return grouping if _left(grouping, sample) <= _WORTHWHILE else None


def _spread(signed: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    """Bits to begin with: the most varied one, then always the most varied of what those before do not explain."""
    variance = (signed * signed).sum(axis=1)
    rest, chosen = variance.copy(), []
    for _ in range(SKETCH_PLANES):
        bit = int(rest.argmax())
        chosen.append(bit)
        product = signed @ signed[bit]
        explained = product * product / max(variance[bit], 1.0)
        rest = np.minimum(rest, variance - explained)
    return np.array(chosen)


def _whole(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Scaled to whole numbers of at most 12 bits."""
    peak = np.abs(centres).max(axis=1, keepdims=True)
    scaled: npt.NDArray[np.float64] = np.rint(centres / np.maximum(peak, 1.0) * 4096)
    return scaled


def _assign(
    signed: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """The group whose centre each bit resembles most, either way up, and which way up."""
    norms = np.sqrt((centres * centres).sum(axis=1))
    alike = (signed @ centres.T) / np.maximum(norms, 1.0)
    groups = np.abs(alike).argmax(axis=1)
    return groups.astype(np.uint8), alike[np.arange(len(alike)), groups] < 0


def _left(grouping: Grouping, sample: Codes) -> float:
    """Part of the sample that would be read to find the nearest 1 % of it to some of its rows."""
    queries = sample[:: max(len(sample) // 32, 1)]
    sketches = grouping.counter()(sample).astype(np.int64)
    left = []
    for query, sketch in zip(queries, grouping.counter()(queries).T.astype(np.int64), strict=True):
        distances = np.bitwise_count(sample.view(np.uint64) ^ query.view(np.uint64)).sum(axis=1)
        nearest = np.sort(distances)[len(sample) // 100]
        left.append((np.abs(sketches - sketch[:, None]).sum(axis=0) <= nearest).mean())
    return float(np.mean(left))
