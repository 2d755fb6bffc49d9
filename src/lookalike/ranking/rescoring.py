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


def bit_probabilities(activations: np.ndarray, thresholds: np.ndarray | float) -> np.ndarray:
    """f32[..., bits]: `activations` (0..1) with `thresholds` (scalar or f32[bits]) moved to 1/2 on the logit scale."""
    a = np.clip(activations, 1e-6, 1 - 1e-6).astype(np.float64)
    t = np.clip(thresholds, 1e-6, 1 - 1e-6)
    odds = (a / (1 - a)) * ((1 - t) / t)
    p: np.ndarray = (odds / (1 + odds)).astype(np.float32)
    return p


def expected_distances(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Expected Hamming distance f32[n] of one query, `probabilities` f32[bits], to `codes` u8[n, bits // 8]."""
    by_byte = _distance_of_each_byte(probabilities)
    places = np.multiply(codes, by_byte.shape[1], dtype=np.intp)
    places += np.arange(by_byte.shape[1])
    distances: np.ndarray = by_byte.ravel().take(places).sum(axis=1, dtype=np.float32)
    return distances


def _distance_of_each_byte(probabilities: np.ndarray) -> np.ndarray:
    """f32[256, bits // 8]: what each value of each byte of a stored code adds to the distance."""
    p = probabilities.astype(np.float32)
    table = np.stack([p, 1 - p])  # of each value of each bit; then of 2, of 4 and of 8 bits
    for _ in range(3):
        table = (table[:, None, 0::2] + table[None, :, 1::2]).reshape(len(table) ** 2, -1)
    return table
