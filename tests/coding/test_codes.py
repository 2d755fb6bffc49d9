"""Codes: packing keeps every bit, and distance counts the bits that differ."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lookalike.coding import codes

BITS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 16).map(lambda n: n * 8)))


@given(BITS)
def test_unpack_is_the_inverse_of_pack(bits: np.ndarray) -> None:
    packed = codes.pack(bits.astype(np.float32))
    assert packed.shape == (len(bits), bits.shape[1] // 8)
    assert np.array_equal(codes.unpack(packed), bits)


@given(BITS)
def test_distance_is_the_number_of_differing_bits(bits: np.ndarray) -> None:
    packed = codes.pack(bits.astype(np.float32))
    expected = (bits != bits[0]).sum(axis=1)
    found = codes.hamming(packed[0], packed)
    assert found.dtype == np.int32
    assert np.array_equal(found, expected)


def test_the_first_bit_is_the_highest_of_the_first_byte() -> None:
    activations = np.zeros((1, 16), np.float32)
    activations[0, 0] = activations[0, 15] = 1
    assert codes.pack(activations).tolist() == [[0b10000000, 0b00000001]]


def test_a_bit_is_one_above_its_threshold_only() -> None:
    activations = np.array([[0.2, 0.5, 0.51, 0.9, 0.1, 0.1, 0.1, 0.1]], np.float32)
    assert codes.unpack(codes.pack(activations)).tolist() == [[False, False, True, True] + [False] * 4]
    fitted = np.array([0.1, 0.4, 0.6, 0.95, 0.0, 0.1, 0.2, 0.0], np.float32)
    expected = [True, True, False, False, True, False, False, True]
    assert codes.unpack(codes.pack(activations, fitted)).tolist() == [expected]


@pytest.mark.parametrize("data", [b"", b"photo"])
def test_a_photo_id_is_the_md5_of_the_bytes(data: bytes) -> None:
    known = {b"": "d41d8cd98f00b204e9800998ecf8427e", b"photo": "5ae0c1c8a5260bc7b6648f6fbd115c35"}
    assert codes.photo_id(data) == known[data]
