"""Asymmetric re-score: the query's real-valued activations against the stored bits.

A code keeps of each activation only whether it passed its threshold. The query's own activations are at hand, so a
bit that barely passed can count less than one that is certain. With p the probability that the query's bit is 1
(the activation, shifted so that its threshold is 1/2), the expected number of differing bits

    sum_i  p_i (1 - b_i) + (1 - p_i) b_i

is a Hamming distance again where all p are 0 or 1. It reads no bytes beyond the stored codes of the few hundred
nearest rows. (Asymmetric distances for binary codes: Gordo et al., IEEE TPAMI 36(1), 2014.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit

from lookalike.index.pieces import read_only

_ONE = 1 << 16
_LEAST_SPREAD = 1 / 16
"""Share of the bits by which the farthest candidate is taken to differ at least: few that are all alike stay alike."""


def bit_probabilities(activations: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """f32[..., bits]: `activations` (0..1) with `thresholds` (scalar or f32[bits]) moved to 1/2 on the logit scale."""
    a = np.clip(activations, 1e-6, 1 - 1e-6).astype(np.float64)
    t = np.clip(thresholds, 1e-6, 1 - 1e-6)
    odds = (a / (1 - a)) * ((1 - t) / t)
    p: np.ndarray = (odds / (1 + odds)).astype(np.float32)
    return p


@dataclass(frozen=True, slots=True)
class Scale:
    """From which distance to which appearance falls from 1 to 0, in bits."""

    nearest: float
    spread: float

    @classmethod
    def of(cls, distances: np.ndarray, bits: int, *, relative: bool) -> Self:
        """From the nearest to the farthest of these candidates, or by the length of the code."""
        if not relative:
            return cls(0, bits)
        return cls(float(distances.min()), max(float(np.ptp(distances)), _LEAST_SPREAD * bits))

    def appearances(self, distances: np.ndarray) -> np.ndarray:
        """f64[m], 0 to 1, of candidates at these distances."""
        found: np.ndarray = np.maximum(0.0, 1 - (distances - self.nearest) / self.spread)
        return found


class Rescorer:
    """Expected Hamming distances of one query, whose `probabilities` f32[bits] say how sure it is that each bit is 1.

    Added up in whole 65536ths of a bit: the order of additions then changes nothing, so every CPU gives the same sums
    whatever its vectors are.
    """

    def __init__(self, probabilities: np.ndarray) -> None:
        ones = np.rint(probabilities.astype(np.float64) * _ONE).astype(np.int32)
        self._of_zeros = int(ones.sum())
        self._gains = np.ascontiguousarray((_ONE - 2 * ones).reshape(-1, 8).T)

    def distances(self, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """f64[m] to `codes[rows]`, of codes u8[n, bits // 8] and rows i64[m]."""
        assert codes.shape[1] == self._gains.shape[1], "codes of another length"
        sums: np.ndarray = self._of_zeros + _add_up(self._gains, read_only(codes), rows)
        return sums / _ONE


@njit(nogil=True, cache=True)
def _add_up(gains: np.ndarray, codes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """i64[m]: for each of `codes[rows]` the sum of the `gains` of its bits that are set.

    `gains` i32[8, bits / 8] by place in the byte, highest first, and byte, so that neighbouring bytes are added side
    by side. 32 bits hold the sums of codes of up to 32,767 bits.
    """
    near = codes[rows]  # fetched before anything is added: memory serves many rows almost as soon as one
    sums = np.empty(len(rows), np.int64)
    for i in range(len(rows)):
        code = near[i]
        total = np.int32(0)
        for bit in range(8):
            for byte in range(len(code)):
                total += gains[bit, byte] & -np.int32((code[byte] >> (7 - bit)) & 1)
        sums[i] = total
    return sums
