"""EXIF orientation (EXIF 2.3, 4.6.4, tag 0x0112), and nothing else of the block."""

from __future__ import annotations

import struct

_MAXIMUM_TAGS = 1000
"""Entries that are looked through for the orientation; cameras write some 20."""


def orientation(exif: bytes) -> int:
    """1 (upright) to 8; 1 where there is none or where it cannot be read: no reason to refuse a photo."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (at,) = struct.unpack_from(order + "I", tiff, 4)
    if at + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(order + "H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * min(count, _MAXIMUM_TAGS), 12):
        if entry + 12 > len(tiff):
            return 1
        tag, kind = struct.unpack_from(order + "HH", tiff, entry)
        if tag == 0x0112:
            (value,) = struct.unpack_from(order + ("H" if kind == 3 else "I"), tiff, entry + 8)
            return value if 1 <= value <= 8 else 1
    return 1
