"""ICC profiles and PNG chunks, made by hand, for tests of colours."""

from __future__ import annotations

import struct
import zlib

from PIL import Image

from lookalike.imaging.profiles import SRGB_CURVE, Calibrated, made
from tests.imaging.pictures import encoded

SRGB = (0.3127, 0.329, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
P3 = (0.3127, 0.329, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060)


def profile(gamma: float = SRGB_CURVE, primaries: tuple[float, ...] = P3) -> bytes:
    found = made(Calibrated(gamma, primaries))
    assert found is not None
    return found


def grey_profile(gamma: float) -> bytes:
    """Of a device of one colour."""
    white = struct.pack(">iii", 63190, 65536, 54061)
    curve = b"curv" + bytes(4) + struct.pack(">IHH", 1, round(gamma * 256), 0)
    tags, body, at = b"", b"", 132 + 24
    for name, value in ((b"wtpt", b"XYZ " + bytes(4) + white), (b"kTRC", curve)):
        tags += name + struct.pack(">II", at + len(body), len(value))
        body += value
    head = struct.pack(">I4xI4s4s4s12x4s28x", at + len(body), 0x02400000, b"mntr", b"GRAY", b"XYZ ", b"acsp")
    return head + white + bytes(48) + struct.pack(">I", 2) + tags + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def gamma_chunk(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100_000)))


def primaries_chunk(values: tuple[float, ...]) -> bytes:
    return chunk(b"cHRM", struct.pack(">8I", *(round(value * 100_000) for value in values)))


def png_with(image: Image.Image, *chunks: bytes) -> bytes:
    """`chunks` between the header of a PNG and the rest."""
    data = encoded(image)
    return data[:33] + b"".join(chunks) + data[33:]


def raw_png(width: int, height: int, depth: int, colour: int, rows: bytes, *chunks: bytes) -> bytes:
    """A PNG of samples that Pillow does not write."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(chunks) + pixels
