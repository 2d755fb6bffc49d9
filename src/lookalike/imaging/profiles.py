"""Where a file says what its numbers mean as colours, and the ICC profile that follows from it.

Enters: where a profile lies in the file (JPEG, PNG, WebP, TIFF, AVIF, HEIC), PNG's gamma and primaries, or the numbers
of ITU-T H.273 (PNG's cICP, `nclx` of AVIF and HEIC). Leaves: the bytes of an ICC profile, nothing converted yet.
Reading where it lies costs nothing; joining, inflating and making are left to `profile_of`, after the limits.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

MAXIMUM_BYTES = 4_000_000
"""Of a profile, packed and unpacked; those of printing presses have 0.5 to 3 MB. A larger one is ignored."""
_SRGB_PRIMARIES = (0.3127, 0.329, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
_PRIMARIES = {
    1: _SRGB_PRIMARIES,
    5: (0.3127, 0.329, 0.64, 0.33, 0.29, 0.60, 0.15, 0.06),
    6: (0.3127, 0.329, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (0.3127, 0.329, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
    12: (0.3127, 0.329, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
"""White, red, green and blue as x, y (H.273, table 2)."""
SRGB_CURVE, FILM_CURVE = 0.0, 2.4
_CURVES = {
    1: FILM_CURVE,
    4: 2.2,
    5: 2.8,
    6: FILM_CURVE,
    8: 1.0,
    13: SRGB_CURVE,
    14: FILM_CURVE,
    15: FILM_CURVE,
}
"""Exponents (H.273, table 3), film as screens show it (BT.1886). Those of HDR (16, 18) are not converted."""
_SRGB_SHAPE = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""Exponent, a, b, c, d of ICC's third parametric curve (IEC 61966-2-1)."""
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1.0, 0.8249])


@dataclass(frozen=True, slots=True)
class Embedded:
    """An ICC profile in the file: the spans of its bytes, `deflated` in a PNG."""

    spans: tuple[tuple[int, int], ...]
    deflated: bool = False


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A curve and primaries in numbers."""

    gamma: float
    """The exponent that makes light of the numbers, or `SRGB_CURVE`, which is no power."""
    primaries: tuple[float, ...] | None = None
    """White, red, green, blue as x, y; None are sRGB's."""


ColourSource = Embedded | Calibrated


def coded(primaries: int, transfer: int, *, film_as_srgb: bool = False) -> ColourSource | None:
    """What the numbers of H.273 say; None is sRGB, or what they do not say.

    `film_as_srgb` takes BT.709's curve for sRGB's, as browsers do in AVIF, whose encoders write it by default.
    """
    if primaries not in _PRIMARIES or transfer not in _CURVES:
        return None
    curve = _CURVES[transfer]
    if film_as_srgb and curve == FILM_CURVE:
        curve = SRGB_CURVE
    if (_PRIMARIES[primaries], curve) == (_SRGB_PRIMARIES, SRGB_CURVE):
        return None
    return Calibrated(curve, _PRIMARIES[primaries])


def profile_of(data: bytes, source: ColourSource) -> bytes | None:
    """The ICC profile that `source` stands for; None where it is too large, cut off or makes no sense."""
    if isinstance(source, Calibrated):
        return made(source)
    if sum(end - start for start, end in source.spans) > MAXIMUM_BYTES:
        return None
    joined = b"".join(data[start:end] for start, end in source.spans)
    if not source.deflated:
        return joined
    inflating = zlib.decompressobj()
    try:
        profile = inflating.decompress(joined, MAXIMUM_BYTES)
    except zlib.error:
        return None
    return profile if not inflating.unconsumed_tail else None


@lru_cache(maxsize=64)
def made(source: Calibrated) -> bytes | None:
    """A profile of version 2 by a curve and three primaries (ICC.1:2010, 8.3.3); None where they span no colours."""
    points = np.array(source.primaries or _SRGB_PRIMARIES).reshape(4, 2)
    if (points[:, 1] < 0.0001).any() or (points > 1.2).any():
        return None
    white, *colours = (np.array([x / y, 1.0, (1 - x - y) / y]) for x, y in points)
    matrix = np.array(colours).T
    if abs(np.linalg.det(matrix)) < 1e-6:
        return None
    matrix = matrix * np.linalg.solve(matrix, white)
    adapted = (
        np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD @ matrix
    )
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 100:
        return None
    if source.gamma == SRGB_CURVE:
        curve = _numbers(b"para", *_SRGB_SHAPE, kind=3)
    else:
        curve = _numbers(b"para", source.gamma, kind=0)
    tags = [(b"wtpt", _numbers(b"XYZ ", *_D50))]
    tags += [
        (name, _numbers(b"XYZ ", *column))
        for name, column in zip((b"rXYZ", b"gXYZ", b"bXYZ"), adapted.T, strict=True)
    ]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, value in tags:
        table += struct.pack(">4sII", name, at + len(body), len(value))
        body += value
    head = struct.pack(">I4xI4s4s4s12x4s28x", at + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head += _fixed(*_D50) + bytes(48)
    return head + struct.pack(">I", len(tags)) + table + body


def _numbers(name: bytes, *values: float, kind: int | None = None) -> bytes:
    return name + bytes(4) + (b"" if kind is None else struct.pack(">HH", kind, 0)) + _fixed(*values)


def _fixed(*values: float) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))
