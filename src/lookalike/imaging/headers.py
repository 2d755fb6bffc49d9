"""The containers of photos, read without decoding: what a photo will cost, and its pixels alone.

Bytes of a stranger enter. `read` leaves what the header says, after a bounded number of steps, so that even an event
loop can ask. `pixels_only` leaves a file of the same pixels without anything else: profiles, EXIF, texts, further
frames and padding never meet a decoder, which would unpack or copy them before it looks at the first pixel (Pillow
inflates every text chunk of a PNG and reads every entry of an EXIF block, a gigabyte of them if it is told so).

What is taken is a closed list, one module each in `formats`.
"""

from __future__ import annotations

from lookalike.errors import PhotoError
from lookalike.imaging.formats import bmp, boxes, gif, jpeg, png, tiff, webp
from lookalike.imaging.formats.header import Header
from lookalike.imaging.limits import FORMATS, Format, Limits, check_density

__all__ = ["Header", "pixels_only", "read", "recognise"]


def recognise(data: bytes) -> Format | None:
    """The format that the first bytes claim, of those we take."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(png.SIGNATURE):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return "TIFF"
    if data[:2] == b"BM" and len(data) >= 18 and data[15:18] == bytes(3):
        return "BMP"
    return boxes.recognise(data)


def read(data: bytes) -> Header:
    """What the header says. Raises `PhotoError`; a damaged body goes unnoticed."""
    match recognise(data):
        case "JPEG":
            return jpeg.read(data)
        case "PNG":
            return png.read(data)
        case "WEBP":
            return webp.read(data)
        case "GIF":
            return gif.read(data)
        case "BMP":
            return bmp.read(data)
        case "TIFF":
            return tiff.read(data)
        case "AVIF" | "HEIC":
            return boxes.read(data)
    raise PhotoError("type", f"the first bytes are not those of a photo ({FORMATS})")


def pixels_only(data: bytes, header: Header, limits: Limits) -> bytes:
    """A file of the same pixels and nothing else; of moving pictures the first frame.

    Raises `PhotoError` where the data has too many passes, or too few bytes for its size.
    """
    match header.format:
        case "JPEG":
            result, coded = jpeg.pixels(data, header, limits)
        case "PNG":
            result, coded = png.pixels(data)
        case "WEBP":
            result, coded = webp.pixels(data)
        case "GIF":
            result, coded = gif.pixels(data)
        case "BMP":
            result, coded = bmp.pixels(data, limits)
        case "TIFF":
            result, coded = tiff.pixels(data, limits)
        case "AVIF" | "HEIC":
            result, coded = boxes.pixels(data, limits)
    check_density(header.width, header.height, coded, limits)
    return result
