"""TIFF: revision 6.0 (Adobe 1992). The first picture of a file, by the tags that pixels depend on.

Pillow reads every tag of every directory, and libtiff a dozen compressions. So the decoders get a directory of our own
making, behind the file's bytes: only tags that are needed, only compressions that photos have.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from lookalike.errors import PhotoError
from lookalike.imaging.formats import jpeg
from lookalike.imaging.formats.header import Header
from lookalike.imaging.limits import Limits
from lookalike.imaging.profiles import Embedded

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _OFFSETS = 256, 257, 258, 259, 262, 273
_ORIENTATION, _SAMPLES, _ROWS, _COUNTS, _PLANAR = 274, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, _JPEG_TABLES, _SAMPLE_FORMAT, _PROFILE = (
    322, 323, 324, 325, 347, 339, 34675,
)  # fmt: skip
_KEPT = {
    _WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, 266, _OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, 317, 320,
    _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS, 338, _SAMPLE_FORMAT, _JPEG_TABLES, 529, 530, 531, 532,
}  # fmt: skip
_PLAIN, _LZW, _JPEG, _DEFLATE, _PACKBITS, _OLD_DEFLATE = 1, 5, 7, 8, 32773, 32946
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
"""Bytes of a value, by its type."""
_MAXIMUM_TAGS = 200
_MAXIMUM_PIECES = 20_000
"""Strips or tiles; a strip of one row each suffices for the tallest photo."""
_MAXIMUM_SAMPLES = 5

_Entry = tuple[int, int, int, bytes]
"""Tag, type, count and the field of four bytes: the value, or where it is."""


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`."""
    tags = _Tags(data)
    width, height = tags.one(_WIDTH), tags.one(_HEIGHT)
    samples = tags.one(_SAMPLES, 1)
    bits = tags.values(_BITS) or [1]
    if tags.one(_COMPRESSION, _PLAIN) not in (_PLAIN, _LZW, _JPEG, _DEFLATE, _PACKBITS, _OLD_DEFLATE):
        raise PhotoError(
            "type", "a TIFF of a compression that photos do not have; save it as an ordinary JPEG"
        )
    whole = set(tags.values(_SAMPLE_FORMAT)) <= {1}
    if not 1 <= samples <= _MAXIMUM_SAMPLES or not set(bits) <= {1, 2, 4, 8, 16} or not whole:
        raise PhotoError("type", "a TIFF of other samples than 8 or 16 bits; save it as an ordinary JPEG")
    if _TILE_OFFSETS in tags.entries:
        piece = tags.one(_TILE_WIDTH) * tags.one(_TILE_HEIGHT)
    else:
        piece = width * min(tags.one(_ROWS, height), height)
    profile = tags.span(_PROFILE)
    turn = tags.one(_ORIENTATION, 1)
    return Header(
        "TIFF",
        width,
        height,
        turn if 1 <= turn <= 8 else 1,
        coded_bytes=samples * max(bits) * (width * height + piece) // 8,
        colours=Embedded((profile,)) if profile else None,
    )


def pixels(data: bytes, limits: Limits) -> tuple[bytes, int]:
    """The file with a directory of our own, and how many bytes code the pixels. Raises `PhotoError`."""
    tags = _Tags(data)
    tiled = _TILE_OFFSETS in tags.entries
    starts = tags.values(_TILE_OFFSETS if tiled else _OFFSETS)
    counts = tags.values(_TILE_COUNTS if tiled else _COUNTS)
    if not starts:
        raise PhotoError("damaged", "a TIFF without image data")
    if not counts and len(starts) == 1:
        counts = [len(data) - starts[0]]
    if len(counts) < len(starts) or any(s + n > len(data) for s, n in zip(starts, counts, strict=False)):
        raise PhotoError("truncated", "the TIFF is truncated")
    if tags.one(_COMPRESSION, _PLAIN) == _JPEG:
        for start, count in zip(starts, counts, strict=False):
            _check_jpeg(data[start : start + count])
    entries = [entry for tag, entry in sorted(tags.entries.items()) if tag in _KEPT]
    order = tags.order
    directory = struct.pack(order + "H", len(entries))
    directory += b"".join(struct.pack(order + "HHI", tag, kind, n) + field for tag, kind, n, field in entries)
    body = data[8:] + bytes(len(data) & 1)
    head = data[:4] + struct.pack(order + "I", 8 + len(body))
    return b"".join([head, body, directory, bytes(4)]), sum(counts)


class _Tags:
    """The first directory of a file. Raises `PhotoError`."""

    def __init__(self, data: bytes) -> None:
        self.data, self.order = data, "<" if data[:2] == b"II" else ">"
        if len(data) < 8:
            raise PhotoError("truncated", "the TIFF ends within its header")
        (at,) = struct.unpack_from(self.order + "I", data, 4)
        if at + 2 > len(data):
            raise PhotoError("truncated", "the TIFF ends before its directory")
        (count,) = struct.unpack_from(self.order + "H", data, at)
        if count > _MAXIMUM_TAGS or at + 2 + 12 * count > len(data):
            raise PhotoError("damaged", f"a TIFF whose directory claims {count:,} tags")
        self.entries: dict[int, _Entry] = {}
        for place in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, values = struct.unpack_from(self.order + "HHI", data, place)
            self.entries.setdefault(tag, (tag, kind, values, data[place + 8 : place + 12]))
        for tag in _KEPT & self.entries.keys():
            _, kind, values, _ = self.entries[tag]
            most = 3 << 16 if tag in (320, 532) else len(data) if tag == _JPEG_TABLES else _MAXIMUM_PIECES
            if kind not in _SIZES or values > most or self.span(tag) is None:
                raise PhotoError("damaged", f"tag {tag} of the TIFF is out of its bounds")

    def span(self, tag: int) -> tuple[int, int] | None:
        """Where the bytes of a tag outside the directory begin and end; (0, 0) where they are in it."""
        if tag not in self.entries:
            return None
        _, kind, count, field = self.entries[tag]
        length = _SIZES.get(kind, 1) * count
        if length <= 4:
            return 0, 0
        (at,) = struct.unpack(self.order + "I", field)
        return (at, at + length) if at + length <= len(self.data) else None

    def values(self, tag: int) -> Sequence[int]:
        """The whole numbers of a tag; none where it is absent."""
        if tag not in self.entries:
            return []
        _, kind, count, field = self.entries[tag]
        letter = {1: "B", 3: "H", 4: "I"}.get(kind)
        if letter is None or tag not in _KEPT | {_ORIENTATION}:
            raise PhotoError("damaged", f"tag {tag} of the TIFF is no whole number")
        start, end = self.span(tag) or (0, 0)
        raw = self.data[start:end] if end else field[: _SIZES[kind] * count]
        return struct.unpack(f"{self.order}{len(raw) // _SIZES[kind]}{letter}", raw)

    def one(self, tag: int, default: int | None = None) -> int:
        found = self.values(tag)
        if found:
            return found[0]
        if default is None:
            raise PhotoError("damaged", f"the TIFF lacks tag {tag}")
        return default


def _check_jpeg(piece: bytes) -> None:
    """A strip must be an ordinary JPEG: one of many scans would be decoded in full for each of them."""
    for marker, _, _ in jpeg.segments(piece):
        if 0xC1 < marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            raise PhotoError("type", "a TIFF of progressive JPEG; save it as an ordinary JPEG")
