"""Codes: packing activations into bits, and Hamming distance by plain numpy, the oracle of every faster scan.

A code is `bits / 8` bytes (512 for 4096 bits). Bit i is the most significant bit first of byte i // 8, as
`numpy.packbits` packs by default.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 16384
"""Codes whose differing bits are held at a time: 8 MB of 4096 bits."""


def pack(
    activations: NDArray[np.floating], thresholds: NDArray[np.floating] | float = 0.5
) -> NDArray[np.uint8]:
    """Codes u8[n, bits / 8] of activations [n, bits]: a bit is 1 where the activation exceeds its threshold."""
    return np.packbits(activations > thresholds, axis=1)


def unpack(codes: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The bits bool[n, bits] of codes u8[n, bits / 8]."""
    return np.unpackbits(codes, axis=1).astype(bool)


def hamming(query: NDArray[np.uint8], codes: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Distances i32[n] in bits of one code u8[w] to codes u8[n, w]."""
    distances = np.empty(len(codes), np.int32)
    for start in range(0, len(codes), _AT_ONCE):
        part = codes[start : start + _AT_ONCE]
        differing = np.bitwise_count(np.bitwise_xor(query, part))
        differing.sum(axis=1, dtype=np.int32, out=distances[start : start + _AT_ONCE])
    return distances


def photo_id(data: bytes) -> str:
    """The id of a photo: MD5 of its bytes, 32 hex digits. Exact duplicates share it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
