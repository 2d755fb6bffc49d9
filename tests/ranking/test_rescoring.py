"""The asymmetric distance agrees with its definition, and with Hamming where activations are certain."""

from __future__ import annotations

import numpy as np

from lookalike.ranking.rescoring import Rescorer, bit_probabilities

RNG = np.random.default_rng(5)
CODES = RNG.integers(0, 256, (50, 32), dtype=np.uint8)
ROWS = np.arange(len(CODES))
BITS = np.unpackbits(CODES, axis=1).astype(np.float64)


def test_it_is_the_expected_number_of_differing_bits() -> None:
    p = RNG.random(256).astype(np.float32)
    expected = (p * (1 - BITS) + (1 - p) * BITS).sum(axis=1)
    np.testing.assert_allclose(Rescorer(p).distances(CODES, ROWS), expected, rtol=1e-5)


def test_rows_are_picked_and_sums_are_exact_in_any_order() -> None:
    p = RNG.random(256).astype(np.float32)
    distances = Rescorer(p).distances(CODES, ROWS)
    picked = RNG.permutation(ROWS)[:20]
    np.testing.assert_array_equal(Rescorer(p).distances(CODES, picked), distances[picked])
    ones = np.rint(p.astype(np.float64) * 65536).astype(int)
    for code, distance in zip(BITS.astype(int), distances, strict=True):
        assert distance * 65536 == sum(
            65536 - one if bit else one for bit, one in zip(code, ones, strict=True)
        )


def test_certain_activations_give_the_hamming_distance() -> None:
    query = RNG.integers(0, 2, 256)
    distances = Rescorer(query.astype(np.float32)).distances(CODES, ROWS)
    np.testing.assert_allclose(distances, (query != BITS).sum(axis=1), atol=1e-9)


def test_a_threshold_becomes_one_half_and_order_is_kept() -> None:
    thresholds = np.array([0.1, 0.5, 0.9], np.float32)
    np.testing.assert_allclose(bit_probabilities(thresholds, thresholds), 0.5, atol=1e-6)
    above = bit_probabilities(np.array([0.2, 0.6, 0.95], np.float32), thresholds)
    assert (above > 0.5).all()
    ends = bit_probabilities(np.array([0.0, 1.0], np.float32), 0.5)
    np.testing.assert_allclose(ends, [0, 1], atol=1e-5)


def test_a_doubtful_bit_separates_two_codes_at_the_same_hamming_distance() -> None:
    query = np.array([0.99] * 7 + [0.55], np.float32)
    certain_wrong, doubtful_wrong = np.array([[0b01111111], [0b11111110]], np.uint8)
    far, near = Rescorer(query).distances(np.stack([certain_wrong, doubtful_wrong]), ROWS[:2])
    assert near < far
