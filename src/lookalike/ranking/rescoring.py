"""Asymmetric re-score: the query's real-valued activations against the stored bits.

A code keeps of each activation only whether it passed its threshold. The query's own activations are at hand, so a
bit that barely passed can count less than one that is certain. With p the probability that the query's bit is 1
(the activation, shifted so that its threshold is 1/2), the expected number of differing bits

    sum_i  p_i (1 - b_i) + (1 - p_i) b_i

is a Hamming distance again where all p are 0 or 1. It reads no bytes beyond the stored codes of the few hundred
nearest rows. (Asymmetric distances for binary codes: Gordo et al., IEEE TPAMI 36(1), 2014.)
"""

from __future__ import annotations

import numpy as np
from numba import njit


def bit_probabilities(activations: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """f32[..., bits]: `activations` (0..1) with `thresholds` (scalar or f32[bits]) moved to 1/2 on the logit scale."""
    a = np.clip(activations, 1e-6, 1 - 1e-6).astype(np.float64)
    t = np.clip(thresholds, 1e-6, 1 - 1e-6)
    odds = (a / (1 - a)) * ((1 - t) / t)
    p: np.ndarray = (odds / (1 + odds)).astype(np.float32)
    return p


def expected_distances(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Expected Hamming distance f32[n] of one query, `probabilities` f32[bits], to `codes` u8[n, bits // 8]."""
    distances: np.ndarray = _add_up(
        probabilities.astype(np.float64), np.require(codes, requirements=["C", "W"])
    )
    return distances.astype(np.float32)


@njit(nogil=True, cache=True)
def _add_up(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """f64[n]. What each value of a byte adds is worked out once for all rows, from the lowest bit up."""
    distances = np.zeros(len(codes))
    of_value = np.empty(256)
    for byte in range(codes.shape[1]):
        p = probabilities[8 * byte : 8 * byte + 8]
        of_value[0] = p.sum()
        known = 1
        for bit in range(7, -1, -1):
            for value in range(known):
                of_value[known + value] = of_value[value] + 1 - 2 * p[bit]
            known *= 2
        for row in range(len(codes)):
            distances[row] += of_value[codes[row, byte]]
    return distances
