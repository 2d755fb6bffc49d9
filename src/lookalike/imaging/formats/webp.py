"""WebP: RFC 9649."""

from __future__ import annotations

import struct
from itertools import islice

from lookalike.errors import PhotoError
from lookalike.imaging.formats import exif
from lookalike.imaging.formats.chunks import MAXIMUM_BEFORE_PIXELS, chunks
from lookalike.imaging.formats.header import Header
from lookalike.imaging.profiles import Embedded


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data) or len(data) < 30:
        raise PhotoError("truncated", "the WebP file ends before its end")
    chunk, orientation, colours = data[12:16], 1, None
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        for name, start, end in islice(chunks(data, 12, "<"), MAXIMUM_BEFORE_PIXELS):
            if name == b"ICCP":
                colours = Embedded(((start, end),))
            elif name == b"EXIF":
                orientation = exif.orientation(data[start:end])
                break
    elif chunk == b"VP8L":
        packed = int.from_bytes(data[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        raise PhotoError("damaged", "the WebP file starts with an unknown chunk")
    return Header("WEBP", width, height, orientation, colours=colours)


def pixels(data: bytes) -> tuple[bytes, int]:
    """The canvas, if it is stated, and the first frame; and how many bytes code it. Raises `PhotoError`."""
    kept, coded = [], 0
    for name, start, end in chunks(data, 12, "<"):
        if end > len(data):
            raise PhotoError("truncated", "the WebP file is truncated")
        body = data[start:end]
        if name == b"VP8X":  # flags of transparency and motion; the others announce what is left out
            kept.append((name, bytes([body[0] & 0x12]) + body[1:]))
        elif name in (b"ANIM", b"ALPH"):
            kept.append((name, body))
            coded += len(body)
        elif name in (b"VP8 ", b"VP8L", b"ANMF"):
            kept.append((name, body))
            coded += len(body)
            break
    parts = [
        b"".join([name, struct.pack("<I", len(body)), body, bytes(len(body) & 1)]) for name, body in kept
    ]
    size = 4 + sum(map(len, parts))
    return b"".join([b"RIFF", struct.pack("<I", size), b"WEBP", *parts]), coded
