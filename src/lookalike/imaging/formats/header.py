"""What a file says of itself before it is decoded: size, orientation, memory, and where its colours are described."""

from __future__ import annotations

from dataclasses import dataclass

from lookalike.imaging.limits import Format, PhotoInfo
from lookalike.imaging.profiles import ColourSource

_BYTES_A_PIXEL = {"PNG": 9, "WEBP": 18, "GIF": 9, "BMP": 12, "TIFF": 9, "AVIF": 9, "HEIC": 6}
"""Memory of decoding, measured: libwebp keeps two canvases."""
_BYTES_A_CODED_PIXEL = {"AVIF": 9, "HEIC": 5}
"""Of planes that libavif and libheif keep beside, for tiles and for transparency."""


@dataclass(frozen=True, slots=True)
class Header:
    """`width` and `height` are pixels as they are stored."""

    format: Format
    width: int
    height: int
    orientation: int = 1
    """EXIF's, 1 (upright) to 8."""
    components: int = 3
    """Colours of a JPEG."""
    coefficients: int = 0
    """Bytes that libjpeg keeps of a JPEG of several scans until the last was read; 0 where it goes line by line."""
    coded_pixels: int = 0
    """Pixels that are decoded on the way to those of an AVIF or HEIC: all tiles, and transparency."""
    coded_bytes: int = 0
    """Memory beside the pixels, in bytes: of a TIFF its largest strip or tile, and samples of 16 bits."""
    colours: ColourSource | None = None
    """What the numbers of the pixels mean; None is sRGB."""

    @property
    def info(self) -> PhotoInfo:
        """The same of the upright photo."""
        turned = self.orientation >= 5
        width, height = (self.height, self.width) if turned else (self.width, self.height)
        return PhotoInfo(self.format, width, height, self.decoding_bytes())

    def decoding_bytes(self, scale: int = 1) -> int:
        """Bytes of memory that decoding takes at most, a JPEG at 1/`scale` of its size.

        RGB takes 4 a pixel and so does what it is made from.
        """
        pixels = -(-self.width // scale) * -(-self.height // scale)
        if self.format == "JPEG":
            return 4 * pixels + max(self.coefficients, 0 if self.components == 3 else 4 * pixels)
        beside = _BYTES_A_CODED_PIXEL.get(self.format, 0) * self.coded_pixels + self.coded_bytes
        return _BYTES_A_PIXEL[self.format] * pixels + beside
