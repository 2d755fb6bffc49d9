"""JPEG: ITU-T T.81, annex B. ICC profiles in APP2 segments: ICC.1, annex B.4."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from lookalike.errors import PhotoError
from lookalike.imaging.formats import exif
from lookalike.imaging.formats.header import Header
from lookalike.imaging.limits import Limits, check_scans
from lookalike.imaging.profiles import Embedded

MAXIMUM_SEGMENTS = 1000
"""A photo of 15 MB with profiles and previews has 300 at most."""
_NOT_FILL = re.compile(rb"[^\xff]")
_MAXIMUM_FILL = 1000
"""Bytes 0xff before a marker."""
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7]")
"""What ends the data of a scan: neither a stuffed zero nor a restart. Or fill before a marker."""
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
"""Start of a frame: sequential and progressive, by Huffman or arithmetic coding."""
_FOREIGN_FRAMES = {0xC3, 0xC5, 0xC6, 0xC7, 0xCB, 0xCD, 0xCE, 0xCF}
"""Lossless and hierarchical ones, which no camera and no browser knows."""
_SCAN, _END = 0xDA, 0xD9
_ALONE = {0x01, 0xD8, *range(0xD0, 0xD8)}
"""Markers without a length."""
_PROFILE = b"ICC_PROFILE\0"


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`."""
    frame, orientation, together = b"", 1, 0
    profile: list[tuple[int, int, int, int]] = []
    for marker, start, end in segments(data):
        if marker in _FRAMES:
            if frame:
                raise PhotoError("damaged", "a JPEG of two frames")
            frame = bytes([marker]) + data[start + 4 : end]
        elif marker in _FOREIGN_FRAMES:
            raise PhotoError("type", "a lossless or hierarchical JPEG, which is not taken; save it again")
        elif marker == 0xE1 and orientation == 1 and data.startswith(b"Exif\0\0", start + 4):
            orientation = exif.orientation(data[start + 4 : end])
        elif marker == 0xE2 and data.startswith(_PROFILE, start + 4) and end >= start + 18:
            profile.append((data[start + 16], data[start + 17], start + 18, end))
        elif marker == _SCAN:
            together = data[start + 4] if end > start + 4 else 0
    if len(frame) < 7 or len(frame) < 7 + 3 * frame[6]:
        raise PhotoError("damaged", "a JPEG without a frame header")
    height, width, components = struct.unpack_from(">HHB", frame, 2)
    coefficients = 0
    if frame[0] in (0xC2, 0xCA) or together < components:
        coefficients = _coefficients(width, height, frame[7 : 7 + 3 * components])
    return Header("JPEG", width, height, orientation, components, coefficients, colours=_embedded(profile))


def pixels(data: bytes, header: Header, limits: Limits) -> tuple[bytes, int]:
    """A file of the same pixels alone, and how many bytes code them. Raises `PhotoError`."""
    found = list(segments(data))
    scan = found[-1][1]
    if header.coefficients:
        check_scans(_scans(data, scan), limits)
    view = memoryview(data)  # one copy: the interpreter stands still for it
    kept = [view[start:end] for marker, start, end in found if _matters(marker)]
    return b"".join([b"\xff\xd8", *kept, view[scan:]]), len(data) - scan


def segments(data: bytes, at: int = 2) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment up to the first scan, whose own end is that of its header.

    What lies between segments is skipped, as libjpeg does. Raises `PhotoError`.
    """
    for _ in range(MAXIMUM_SEGMENTS):
        at = data.find(b"\xff", at)
        found = _NOT_FILL.search(data, at, at + _MAXIMUM_FILL) if at >= 0 else None
        if found is None:
            raise PhotoError("damaged", "a JPEG without image data")
        marker, start, at = data[found.start()], found.start() - 1, found.end()
        if marker in _ALONE or marker == 0:
            continue
        if marker == _END:
            raise PhotoError("damaged", "a JPEG without image data")
        end = at + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            raise PhotoError("truncated", "the JPEG ends within its header")
        if end < at + 2:
            raise PhotoError("damaged", "a segment of the JPEG has no length")
        yield marker, start, end
        if marker == _SCAN:
            return
        at = end
    raise PhotoError("damaged", f"a JPEG of more than {MAXIMUM_SEGMENTS:,} segments")


def _embedded(pieces: list[tuple[int, int, int, int]]) -> Embedded | None:
    """The profile whose numbered pieces these are; None where one is missing or there twice."""
    pieces.sort()
    whole = [(number, len(pieces)) for number in range(1, len(pieces) + 1)]
    if not pieces or [(number, count) for number, count, _, _ in pieces] != whole:
        return None
    return Embedded(tuple((start, end) for _, _, start, end in pieces))


def _matters(marker: int) -> bool:
    """Whether pixels depend on a segment: not on what applications write, but for JFIF's and Adobe's colours."""
    return marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker in (0xFE, _SCAN))


def _scans(data: bytes, at: int) -> int:
    """Scans from `at` to the end of the image; what phones append behind that end is none of it."""
    scans = 0
    for _ in range(MAXIMUM_SEGMENTS):
        found = _MARKER.search(data, at)
        if found is None:
            return scans
        marker, at = data[found.end() - 1], found.end()
        if marker == _END:
            return scans
        if marker == 0xFF:
            at -= 1
            continue
        scans += marker == _SCAN
        at += 0 if marker in _ALONE else int.from_bytes(data[at : at + 2], "big")
    raise PhotoError("damaged", f"a JPEG of more than {MAXIMUM_SEGMENTS:,} segments")


def _coefficients(width: int, height: int, components: bytes) -> int:
    """Bytes of all coefficients: 2 for each sample, with sampling factors of 1 to 4."""
    factors = [(max(1, factor >> 4), max(1, factor & 15)) for factor in components[1::3]]
    most = max((h for h, _ in factors), default=1) * max((v for _, v in factors), default=1)
    return 2 * width * height * sum(h * v for h, v in factors) // most
