"""The containers of JPEG, PNG and WebP, read without decoding: what a photo will cost, and its pixels alone.

Bytes of a stranger enter. `read` leaves what the header says, after a bounded number of steps, so that even an event
loop can ask. `pixels_only` leaves a file of the same pixels without anything else: profiles, EXIF, texts, further
frames and padding never meet a decoder, which would unpack or copy them before it looks at the first pixel (Pillow
inflates every text chunk of a PNG and reads every entry of an EXIF block, a gigabyte of them if it is told so).

JPEG: ITU-T T.81, annex B. PNG: W3C PNG 3. WebP: RFC 9649. Orientation: EXIF 2.3, 4.6.4 (tag 0x0112).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from lookalike.errors import PhotoError
from lookalike.imaging.limits import Format, Limits, PhotoInfo, check_density, check_scans

_MAXIMUM_SEGMENTS = 1000
"""Of a JPEG; a photo of 15 MB with profiles and previews has 300 at most. EXIF is looked for in as many chunks."""
_MAXIMUM_CHUNKS = 20_000
"""Of a PNG or a WebP: chunks of 750 bytes in a file of 15 MB; encoders write 4 to 64 kB."""
_MAXIMUM_TAGS = 1000
"""Of an EXIF block that are looked through for the orientation; cameras write some 20."""

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS")
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


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself. `width` and `height` are pixels as they are stored."""

    format: Format
    width: int
    height: int
    orientation: int = 1
    """EXIF's, 1 (upright) to 8."""
    components: int = 3
    """Colours of a JPEG."""
    coefficients: int = 0
    """Bytes that libjpeg keeps of a JPEG of several scans until the last one was read; 0 where it goes line by line."""

    @property
    def info(self) -> PhotoInfo:
        """The same of the upright photo."""
        turned = self.orientation >= 5
        width, height = (self.height, self.width) if turned else (self.width, self.height)
        return PhotoInfo(self.format, width, height, self.decoding_bytes())

    def decoding_bytes(self, scale: int = 1) -> int:
        """Bytes of memory that decoding takes at most, a JPEG at 1/`scale` of its size.

        RGB takes 4 a pixel and so does what it is made from; libwebp keeps two canvases besides.
        """
        pixels = -(-self.width // scale) * -(-self.height // scale)
        if self.format == "PNG":
            return 9 * pixels
        if self.format == "WEBP":
            return 18 * pixels
        return 4 * pixels + max(self.coefficients, 0 if self.components == 3 else 4 * pixels)


def recognise(data: bytes) -> Format | None:
    """The format that the first bytes claim, of those we take."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(_PNG_SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`; a damaged body goes unnoticed."""
    match recognise(data):
        case "JPEG":
            return _read_jpeg(data)
        case "PNG":
            return _read_png(data)
        case "WEBP":
            return _read_webp(data)
    raise PhotoError("type", "the first bytes are not those of a JPEG, PNG or WebP")


def pixels_only(data: bytes, header: Header, limits: Limits) -> bytes:
    """A file of the same pixels and nothing else; of moving pictures the first frame.

    Raises `PhotoError` where the data has too many passes, or too few bytes for its size.
    """
    match header.format:
        case "JPEG":
            segments = list(_segments(data))
            scan = segments[-1][1]
            if header.coefficients:
                check_scans(_scans(data, scan), limits)
            view = memoryview(data)  # one copy: the interpreter stands still for it
            kept = [view[start:end] for marker, start, end in segments if _matters(marker)]
            result, coded = b"".join([b"\xff\xd8", *kept, view[scan:]]), len(data) - scan
        case "PNG":
            result, coded = _png_pixels(data)
        case "WEBP":
            result, coded = _webp_pixels(data)
    check_density(header.width, header.height, coded, limits)
    return result


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of every segment up to the first scan, whose own end is that of its header.

    What lies between segments is skipped, as libjpeg does. Raises `PhotoError`.
    """
    at = 2
    for _ in range(_MAXIMUM_SEGMENTS):
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
    raise PhotoError("damaged", f"a JPEG of more than {_MAXIMUM_SEGMENTS:,} segments")


def _matters(marker: int) -> bool:
    """Whether pixels depend on a segment: not on what applications write, but for JFIF's and Adobe's colours."""
    return marker in (0xE0, 0xEE) or not (0xE0 <= marker <= 0xEF or marker in (0xFE, _SCAN))


def _scans(data: bytes, at: int) -> int:
    """Scans from `at` to the end of the image; what phones append behind that end is none of it."""
    scans = 0
    for _ in range(_MAXIMUM_SEGMENTS):
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
    raise PhotoError("damaged", f"a JPEG of more than {_MAXIMUM_SEGMENTS:,} segments")


def _read_jpeg(data: bytes) -> Header:
    frame, orientation, together = b"", 1, 0
    for marker, start, end in _segments(data):
        if marker in _FRAMES:
            if frame:
                raise PhotoError("damaged", "a JPEG of two frames")
            frame = bytes([marker]) + data[start + 4 : end]
        elif marker in _FOREIGN_FRAMES:
            raise PhotoError("type", "a lossless or hierarchical JPEG, which is not taken; save it again")
        elif marker == 0xE1 and orientation == 1 and data.startswith(b"Exif\0\0", start + 4):
            orientation = _orientation(data[start + 4 : end])
        elif marker == _SCAN:
            together = data[start + 4] if end > start + 4 else 0
    if len(frame) < 7 or len(frame) < 7 + 3 * frame[6]:
        raise PhotoError("damaged", "a JPEG without a frame header")
    height, width, components = struct.unpack_from(">HHB", frame, 2)
    coefficients = 0
    if frame[0] in (0xC2, 0xCA) or together < components:
        coefficients = _coefficients(width, height, frame[7 : 7 + 3 * components])
    return Header("JPEG", width, height, orientation, components, coefficients)


def _coefficients(width: int, height: int, components: bytes) -> int:
    """Bytes of all coefficients: 2 for each sample, with sampling factors of 1 to 4."""
    factors = [(max(1, factor >> 4), max(1, factor & 15)) for factor in components[1::3]]
    most = max((h for h, _ in factors), default=1) * max((v for _, v in factors), default=1)
    return 2 * width * height * sum(h * v for h, v in factors) // most


def _chunks(data: bytes, at: int, order: str) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of the contents of every chunk of a PNG (">") or a WebP ("<"), as far as the file goes."""
    for _ in range(_MAXIMUM_CHUNKS):
        if at + 8 > len(data):
            return
        if order == ">":
            length, name = struct.unpack_from(">I4s", data, at)
        else:
            name, length = struct.unpack_from("<4sI", data, at)
        start, end = at + 8, at + 8 + length
        yield name, start, end
        at = end + 4 if order == ">" else end + (length & 1)
    raise PhotoError("damaged", f"a file of more than {_MAXIMUM_CHUNKS:,} chunks")


def _read_png(data: bytes) -> Header:
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise PhotoError("damaged", "a PNG without a header")
    width, height = struct.unpack_from(">II", data, 16)
    orientation = 1
    for name, start, end in islice(_chunks(data, 8, ">"), _MAXIMUM_SEGMENTS):
        if name in (b"IDAT", b"IEND"):
            break
        if name == b"eXIf":
            orientation = _orientation(data[start:end])
    return Header("PNG", width, height, orientation)


def _png_pixels(data: bytes) -> tuple[bytes, int]:
    kept: dict[bytes, bytes] = {}
    coded = []
    for name, start, end in _chunks(data, 8, ">"):
        if end > len(data):
            raise PhotoError("truncated", "the PNG is truncated")
        if name == b"IEND":
            break
        if name == b"IDAT":
            coded.append(memoryview(data)[start:end])
        elif name in _PNG_KEPT and name not in kept:
            kept[name] = data[start - 8 : end + 4]
    if not coded:
        raise PhotoError("damaged", "a PNG without image data")
    pixels = b"".join(coded)
    whole = _png_chunk(b"IDAT", pixels)
    return b"".join([_PNG_SIGNATURE, *kept.values(), whole, _png_chunk(b"IEND", b"")]), len(pixels)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    check = zlib.crc32(body, zlib.crc32(name))
    return b"".join([struct.pack(">I", len(body)), name, body, struct.pack(">I", check)])


def _read_webp(data: bytes) -> Header:
    if int.from_bytes(data[4:8], "little") + 8 > len(data) or len(data) < 30:
        raise PhotoError("truncated", "the WebP file ends before its end")
    chunk, orientation = data[12:16], 1
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        for name, start, end in islice(_chunks(data, 12, "<"), _MAXIMUM_SEGMENTS):
            if name == b"EXIF":
                orientation = _orientation(data[start:end])
                break
    elif chunk == b"VP8L":
        packed = int.from_bytes(data[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        raise PhotoError("damaged", "the WebP file starts with an unknown chunk")
    return Header("WEBP", width, height, orientation)


def _webp_pixels(data: bytes) -> tuple[bytes, int]:
    """The canvas, if it is stated, and the first frame."""
    kept, coded = [], 0
    for name, start, end in _chunks(data, 12, "<"):
        if end > len(data):
            raise PhotoError("truncated", "the WebP file is truncated")
        body = data[start:end]
        if (
            name == b"VP8X"
        ):  # of its flags those of transparency and motion; the others announce what is left out
            kept.append((name, bytes([body[0] & 0x12]) + body[1:]))
        elif name in (b"ANIM", b"ALPH"):
            kept.append((name, body))
            coded += len(body)
        elif name in (b"VP8 ", b"VP8L", b"ANMF"):
            kept.append((name, body))
            coded += len(body)
            break
    chunks = [
        b"".join([name, struct.pack("<I", len(body)), body, bytes(len(body) & 1)]) for name, body in kept
    ]
    size = 4 + sum(map(len, chunks))
    return b"".join([b"RIFF", struct.pack("<I", size), b"WEBP", *chunks]), coded


def _orientation(exif: bytes) -> int:
    """EXIF orientation, 1 (upright) where there is none or where it cannot be read: no reason to refuse a photo."""
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
