"""BMP: Microsoft's BITMAPINFOHEADER and its successors. Its profile is ignored, as browsers do."""

from __future__ import annotations

import struct

from lookalike.errors import PhotoError
from lookalike.imaging.formats.header import Header
from lookalike.imaging.limits import Limits, check_runs

_HEADERS = {12, 40, 52, 56, 64, 108, 124}
"""Bytes of the header, by version."""
_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
"""Compressions; JPEG and PNG within a BMP exist for printers alone."""


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`."""
    if len(data) < 26:
        raise PhotoError("truncated", "the BMP ends within its header")
    (size,) = struct.unpack_from("<I", data, 14)
    if size not in _HEADERS:
        raise PhotoError("damaged", f"a BMP whose header has {size:,} bytes")
    if size == 12:
        width, height, _, bits = struct.unpack_from("<4H", data, 18)
        compression = _PLAIN
    elif len(data) < 54:
        raise PhotoError("truncated", "the BMP ends within its header")
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        height = abs(height)  # negative: rows from top to bottom
    if compression not in (_PLAIN, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS) or bits not in (1, 4, 8, 16, 24, 32):
        raise PhotoError("type", "a BMP that holds something else; save it as an ordinary JPEG")
    return Header("BMP", width, height)


def pixels(data: bytes, limits: Limits) -> tuple[bytes, int]:
    """The file as it is, since nothing in it is unpacked unasked, and how many bytes code the pixels."""
    (start,) = struct.unpack_from("<I", data, 10)
    coded = max(0, len(data) - start)
    if struct.unpack_from("<I", data, 14)[0] != 12 and struct.unpack_from("<I", data, 30)[0] in (
        _RLE8,
        _RLE4,
    ):
        check_runs(coded, limits)
    return data, coded
