"""PNG: W3C PNG 3. Chunks that pixels do not depend on are dropped unread; a damaged one refuses no photo.

Of those that say what colours mean, cICP goes before iCCP, that before sRGB, and gAMA with cHRM come last (11.3.2). One
whose check sum is wrong counts as absent, as in browsers.
"""

from __future__ import annotations

import struct
import zlib
from itertools import islice

from lookalike.errors import PhotoError
from lookalike.imaging.formats import exif
from lookalike.imaging.formats.chunks import MAXIMUM_BEFORE_PIXELS, chunks
from lookalike.imaging.formats.header import Header
from lookalike.imaging.profiles import MAXIMUM_BYTES, Calibrated, ColourSource, Embedded, coded

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_KEPT = (b"IHDR", b"PLTE", b"tRNS")
_COLOURS = (b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM")
_SRGB_GAMMA = 0.45455
"""Of gAMA, which nearly fits sRGB: alone it says no more than that (11.3.2.2)."""
_GREY, _RGB = 0, 2
"""Colour types of IHDR."""


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise PhotoError("damaged", "a PNG without a header")
    width, height = struct.unpack_from(">II", data, 16)
    orientation = 1
    colours: dict[bytes, tuple[int, int]] = {}
    for name, start, end in islice(chunks(data, 8, ">"), MAXIMUM_BEFORE_PIXELS):
        if name in (b"IDAT", b"IEND"):
            break
        if name == b"eXIf":
            orientation = exif.orientation(data[start:end])
        elif name in _COLOURS and end - start <= MAXIMUM_BYTES and _sound(data, start, end):
            colours.setdefault(name, (start, end))
    return Header("PNG", width, height, orientation, colours=_source(data, colours) if colours else None)


def pixels(data: bytes) -> tuple[bytes, int]:
    """A file of the same pixels alone, and how many bytes code them. Raises `PhotoError`."""
    kept: dict[bytes, bytes] = {}
    coded_data: list[memoryview] = []
    for name, start, end in chunks(data, 8, ">"):
        if end > len(data):
            if name != b"IDAT" and coded_data:
                break  # behind the pixels nothing is needed
            raise PhotoError("truncated", "the PNG is truncated")
        if name == b"IEND":
            break
        if name == b"IDAT":
            coded_data.append(memoryview(data)[start:end])
        elif name == b"tRNS" and name not in kept:
            if _sound(data, start, end) and end - start <= 256:
                kept[name] = _chunk(name, _see_through(data, data[start:end]))
        elif name in _KEPT and name not in kept:
            kept[name] = data[start - 8 : end + 4]
    if not coded_data:
        raise PhotoError("damaged", "a PNG without image data")
    joined = b"".join(coded_data)
    whole = _chunk(b"IDAT", joined)
    return b"".join([SIGNATURE, *kept.values(), whole, _chunk(b"IEND", b"")]), len(joined)


def _see_through(data: bytes, body: bytes) -> bytes:
    """The colour that is see-through, as Pillow compares it: with samples of 8 bits, but for 16-bit grey."""
    depth, colour = data[24], data[25]
    if colour == _GREY and depth < 8 and len(body) == 2:
        return struct.pack(">H", min(255, int.from_bytes(body, "big") * 255 // ((1 << depth) - 1)))
    if colour == _RGB and depth == 16 and len(body) == 6:
        return struct.pack(">3H", *(value >> 8 for value in struct.unpack(">3H", body)))
    return body


def _source(data: bytes, found: dict[bytes, tuple[int, int]]) -> ColourSource | None:
    if b"cICP" in found:
        body = data[slice(*found[b"cICP"])]
        if len(body) == 4 and (source := coded(body[0], body[1])):
            return source
    if b"iCCP" in found:
        start, end = found[b"iCCP"]
        named = data.find(b"\0", start, min(end, start + 80))
        return Embedded(((named + 2, end),), deflated=True) if named > start else None
    if b"sRGB" in found or b"gAMA" not in found:
        return None
    body = data[slice(*found[b"gAMA"])]
    gamma = int.from_bytes(body, "big") / 100_000 if len(body) == 4 else 0
    if not 0.01 <= gamma <= 100:
        return None
    primaries = None
    if b"cHRM" in found:
        body = data[slice(*found[b"cHRM"])]
        primaries = (
            tuple(value / 100_000 for value in struct.unpack(">8I", body)) if len(body) == 32 else None
        )
    if primaries is None and abs(gamma - _SRGB_GAMMA) < 0.02:
        return None
    return Calibrated(1 / gamma, primaries)


def _sound(data: bytes, start: int, end: int) -> bool:
    view = memoryview(data)
    return zlib.crc32(view[start - 4 : end]).to_bytes(4, "big") == data[end : end + 4]


def _chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(body, zlib.crc32(name))
    return b"".join([struct.pack(">I", len(body)), name, body, struct.pack(">I", check)])
