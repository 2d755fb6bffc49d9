"""What a photo may cost before it is decoded: bytes, pixels, memory, passes, and pixels for each byte.

Enters: what the header says. Leaves: nothing, or a `PhotoError` that names the limit and what to do. Photos of a
catalogue and photos of a search have limits of their own: curation decodes a photo once and may take its time, a search
process decodes whatever a stranger sends, beside the searches of everybody else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal, Protocol

from lookalike.errors import PhotoError

Format = Literal["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"]
FORMATS = "JPEG, PNG, WebP, AVIF, HEIC, GIF, BMP or TIFF"
"""What is taken, in words."""

WORST_BYTES_A_PIXEL = 18
"""Memory of decoding a WebP, the costliest format: libwebp keeps two canvases, Pillow two copies more."""
_MAXIMUM_RUNS = 500_000
"""Bytes of a run-length coded BMP: a quarter of a second."""
_FREE_PIXELS = 1_000_000
"""So many pixels are cheap enough to be believed, however few bytes they are said to be in."""


@dataclass(frozen=True, slots=True)
class PhotoInfo:
    """What the header says. `width` and `height` are pixels of the upright photo."""

    format: Format
    width: int
    height: int
    decoding_bytes: int = field(default=0, compare=False)
    """Bytes of memory that decoding all of its pixels takes at most."""


class Limits(Protocol):
    """What is refused before anything is decoded."""

    @property
    def max_bytes(self) -> int: ...
    @property
    def max_pixels(self) -> int: ...
    @property
    def max_decoding_bytes(self) -> int: ...
    @property
    def max_scans(self) -> int: ...
    @property
    def max_pixels_a_byte(self) -> float: ...


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """What a photo of a catalogue may be. A curated snapshot is named by these two, so the others are no fields."""

    max_bytes: int = 25_000_000
    """Bytes of the file. The largest phone photos have about 20 MB."""
    max_pixels: int = 51_000_000
    """Width times height, in pixels. 50-megapixel phones pass; decoding takes up to 18 bytes a pixel (a WebP)."""

    @property
    def max_decoding_bytes(self) -> int:
        """Bytes of memory: whatever that many pixels take."""
        return self.max_pixels * WORST_BYTES_A_PIXEL

    @property
    def max_scans(self) -> int:
        """Scans of a JPEG. Each goes over the whole photo, a tenth of a second at 50 megapixels."""
        return 100

    @property
    def max_pixels_a_byte(self) -> float:
        """A catalogue may have blank placeholders, which curation finds itself."""
        return math.inf


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What a photo to search by may be."""

    max_bytes: int = 15_000_000
    """Bytes of the file: fewer than a catalogue's, since a page shrinks photos before it sends them."""
    max_pixels: int = 51_000_000
    """Width times height. Only an ordinary JPEG can have so many, which is decoded small, line by line."""
    max_decoding_bytes: int = 300_000_000
    """Bytes of memory that decoding all pixels takes: a WebP has 16 megapixels at most, a PNG 33, a progressive JPEG
    some 40. A search process keeps this much for one such photo at a time."""
    max_scans: int = 16
    """Scans of a JPEG, which cost time and hardly a byte: encoders write 10 to 12."""
    max_pixels_a_byte: float = 1000
    """Pixels for each byte of image data, beyond the first million. The flattest real photos, saved as badly as it
    goes, have 175; blank paper as JPEG or lossy WebP 560. A bomb has a million."""


DEFAULT_LIMITS = PhotoLimits()
QUERY_LIMITS = QueryLimits()


def check_bytes(size: int, limits: Limits) -> None:
    """Raises `PhotoError` for an empty file, or one beyond the limit."""
    if not size:
        raise PhotoError("empty", "the file is empty")
    if size > limits.max_bytes:
        message = f"{size:,} bytes are more than the {limits.max_bytes:,} allowed; shrink the photo"
        raise PhotoError("bytes", message)


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raises `PhotoError` for none, or more than the limit."""
    if width < 1 or height < 1:
        raise PhotoError("damaged", f"the header says {width} x {height} pixels")
    if width * height > limits.max_pixels:
        message = f"{width} x {height} is {width * height / 1e6:.1f} megapixels"
        raise PhotoError(
            "pixels", f"{message}, more than the {limits.max_pixels / 1e6:g} allowed; shrink the photo"
        )


def check_density(width: int, height: int, coded: int, limits: Limits) -> None:
    """Raises `PhotoError` where `coded` bytes of image data cannot be a photo of that size."""
    if width * height > _FREE_PIXELS + limits.max_pixels_a_byte * coded:
        message = f"{width * height / 1e6:.1f} megapixels in {coded:,} bytes of image data are no photo"
        raise PhotoError("effort", f"{message}: at most {limits.max_pixels_a_byte:g} pixels a byte are taken")


def check_memory(info: PhotoInfo, limits: Limits) -> None:
    """Raises `PhotoError` where decoding takes more memory than the limit."""
    if info.decoding_bytes > limits.max_decoding_bytes:
        size = f"a {info.format} of {info.width * info.height / 1e6:.1f} megapixels"
        takes = f"takes {info.decoding_bytes / 1e6:.0f} MB to decode"
        allowed = f"more than the {limits.max_decoding_bytes / 1e6:.0f} MB allowed"
        raise PhotoError("effort", f"{size} {takes}, {allowed}; shrink it, or save it as an ordinary JPEG")


def check_scans(scans: int, limits: Limits) -> None:
    """Raises `PhotoError` for a JPEG of more scans than the limit."""
    if scans > limits.max_scans:
        message = f"a JPEG of more than {limits.max_scans} scans; save it as an ordinary JPEG"
        raise PhotoError("effort", message)


def check_runs(coded: int, limits: Limits) -> None:
    """Raises `PhotoError` for a run-length coded BMP of many bytes, which Pillow decodes run by run in Python."""
    if coded > _MAXIMUM_RUNS:
        raise PhotoError("effort", f"a packed BMP of {coded:,} bytes; save it as an ordinary JPEG")
