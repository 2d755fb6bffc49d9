"""The only door for image bytes: past it they are pixels, or a `PhotoError` was raised.

Bytes enter; RGB arrays, small JPEGs and contact sheets leave. JPEG, PNG and WebP are recognised by their
first bytes and handed to that one decoder of Pillow, so no other of its parsers ever sees a stranger's bytes.
Size is checked on the header, before pixels are allocated. Everything is turned upright by EXIF, flattened on
white, made RGB; of moving pictures the first frame counts; a photo that ends early is refused rather than
filled with grey. Large JPEGs are decoded at a fraction of their size (libjpeg's scaled decoding), still at
least twice as large as asked.

Needs numpy and Pillow alone; `prepare`, which only curation calls, also imports imagehash.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice, product
from typing import Literal

import numpy as np
from PIL import ExifTags, Image, ImageDraw, ImageFont, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from lookalike.errors import LookalikeError, PhotoError, QueryError

Box = tuple[float, float, float, float]
Format = Literal["JPEG", "PNG", "WEBP"]

_OPENERS: dict[Format, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
}

# How a photo is turned upright, by its EXIF orientation, and where its unit square lies before that:
# (swap x and y, mirror x, mirror y), in the order in which `_stored_box` applies them to an upright point.
_UPRIGHT = {
    2: (Image.Transpose.FLIP_LEFT_RIGHT, (False, True, False)),
    3: (Image.Transpose.ROTATE_180, (False, True, True)),
    4: (Image.Transpose.FLIP_TOP_BOTTOM, (False, False, True)),
    5: (Image.Transpose.TRANSPOSE, (True, False, False)),
    6: (Image.Transpose.ROTATE_270, (True, False, True)),
    7: (Image.Transpose.TRANSVERSE, (True, True, True)),
    8: (Image.Transpose.ROTATE_90, (True, True, False)),
}


_DECODING_BYTES: dict[Format, int] = {"JPEG": 12, "PNG": 9, "WEBP": 18}
"""Bytes a pixel that decoding takes at most. RGB takes 4 and so does what it is made from; libjpeg keeps 8 of a
progressive CMYK photo until it is whole, libwebp two canvases. A JPEG that is decoded small takes far less."""


@dataclass(frozen=True, slots=True)
class PhotoLimits:
    """What is refused before anything is decoded."""

    max_bytes: int = 25_000_000
    """Bytes of the file. The largest phone photos have about 20 MB."""
    max_pixels: int = 51_000_000
    """Width times height, in pixels. 50-megapixel phones pass; decoding takes up to 18 bytes a pixel (a WebP)."""

    @property
    def decoding_bytes(self) -> int:
        """Bytes of memory that decoding one photo takes at most."""
        return self.max_pixels * max(_DECODING_BYTES.values())


@dataclass(frozen=True, slots=True)
class PhotoInfo:
    """What the header says. `width` and `height` are pixels of the upright photo."""

    format: Format
    width: int
    height: int

    @property
    def decoding_bytes(self) -> int:
        """Bytes of memory that decoding it takes at most."""
        return self.width * self.height * _DECODING_BYTES[self.format]


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """What curation keeps of one photo, all from one decoding."""

    info: PhotoInfo
    stored: bytes
    """The photo as the curated snapshot keeps it."""
    phash: int
    """64-bit DCT hash (imagehash.phash): photos that look alike differ in few bits."""
    small: np.ndarray
    """uint8[32, 32, 3], the whole photo as RGB, aspect ratio not kept."""


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

DEFAULT_LIMITS = PhotoLimits()
_SMALL_SIDE = 32
_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_TILE_SIDE = 1024
"""Pixels of a photo's tiles, which are flattened one by one: copies of the whole would be most of its memory."""
_MAXIMUM_SCANS = 100
"""Of a JPEG; progressive ones have about ten. Each goes over the whole photo, a tenth of a second at 50 megapixels, and
takes no more than a few bytes of the file."""
_SCAN = re.compile(rb"\xff\xda\0")
"""The marker of a scan and the high byte of its length, which is 14 at most; within a scan 0xda never follows 0xff."""


def probe(data: bytes, *, limits: PhotoLimits = DEFAULT_LIMITS) -> PhotoInfo:
    """Format and size by the header alone. Raises `PhotoError`; a damaged body goes unnoticed."""
    image, name = _open(data, limits)
    return _info(image, name)


def load_square(
    data: bytes, side: int, *, box: Box | None = None, limits: PhotoLimits = DEFAULT_LIMITS
) -> np.ndarray:
    """The photo, or `box` of it, as uint8[side, side, 3] RGB: antialiased bilinear, aspect ratio not kept.

    `box` is x, y, width, height as fractions of the upright photo. Raises `PhotoError`, and `QueryError`
    where the box does not lie in the photo.
    """
    image, _ = _open(data, limits)
    with _translated():
        return np.array(_resized(image, (side, side), box or _WHOLE))


def thumbnail(data: bytes, side: int, *, limits: PhotoLimits = DEFAULT_LIMITS) -> bytes:
    """A JPEG without metadata, upright, the longer side at most `side` pixels. Raises `PhotoError`."""
    image, name = _open(data, limits)
    with _translated():
        return _jpeg(_resized(image, _fitted(_info(image, name), side)), quality=85)


def contact_sheet(
    entries: Sequence[tuple[bytes, str]], columns: int, side: int, *, limits: PhotoLimits = DEFAULT_LIMITS
) -> bytes:
    """Photos with captions (lines parted by newline) in a grid of `columns`, as PNG on white.

    Each photo fits in a square of `side` pixels. Bytes that are no photo show as a grey field with the
    reason.
    """
    text_size = max(10, side // 14)
    font = ImageFont.load_default(size=text_size)
    line = round(text_size * 1.3)
    gap = max(4, side // 20)
    columns = max(1, min(columns, len(entries)))
    captions = [text.split("\n") for _, text in entries]
    rows = [range(at, min(at + columns, len(entries))) for at in range(0, len(entries), columns)]
    heights = [side + line * max(len(captions[i]) for i in row) + gap for row in rows]
    sheet = Image.new("RGB", (columns * (side + gap) + gap, sum(heights) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    top = gap
    for row, height in zip(rows, heights, strict=True):
        for place, i in enumerate(row):
            left = gap + place * (side + gap)
            tile = _tile(entries[i][0], side, font, limits)
            sheet.paste(tile, (left + (side - tile.width) // 2, top + (side - tile.height) // 2))
            for number, text in enumerate(captions[i]):
                at = (left, top + side + 2 + number * line)
                draw.text(at, _cut(text, font, side), fill="#222222", font=font)
        top += height
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def prepare(
    data: bytes, *, keep_side: int, shrunk_side: int, limits: PhotoLimits = DEFAULT_LIMITS
) -> PreparedPhoto:
    """Decode one photo once for curation.

    A photo whose shorter side has at most `keep_side` pixels is stored as it came; a larger one upright,
    shrunk to a shorter side of `shrunk_side`, as JPEG of quality 90. Raises `PhotoError`.
    """
    import imagehash  # with scipy, which a search process does not carry

    image, name = _open(data, limits)
    info = _info(image, name)
    shorter = min(info.width, info.height)
    scale = min(1.0, shrunk_side / shorter)
    size = (max(1, round(info.width * scale)), max(1, round(info.height * scale)))
    with _translated():
        whole = _resized(image, size)
        stored = data if shorter <= keep_side else _jpeg(whole, quality=90)
        small = np.array(whole.resize((_SMALL_SIDE, _SMALL_SIDE), Image.Resampling.BILINEAR))
        bits = np.packbits(imagehash.phash(whole).hash.reshape(-1))
    return PreparedPhoto(info, stored, int.from_bytes(bits.tobytes(), "big"), small)


def recognise(data: bytes) -> Format | None:
    """The format that the first bytes claim, of those we take."""
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def _open(data: bytes, limits: PhotoLimits) -> tuple[Image.Image, Format]:
    """An image whose header was read and whose pixels were not, within the limits."""
    if not data:
        raise PhotoError("empty", "the file is empty")
    if len(data) > limits.max_bytes:
        raise PhotoError("bytes", f"{len(data):,} bytes are more than the {limits.max_bytes:,} allowed")
    name = recognise(data)
    if name is None:
        raise PhotoError("type", f"not a JPEG, PNG or WebP; it starts with {data[:8]!r}")
    if name == "WEBP":
        _check_webp(data, limits)
    if name == "JPEG" and next(islice(_SCAN.finditer(data), _MAXIMUM_SCANS, None), None):
        raise PhotoError("damaged", f"a JPEG of more than {_MAXIMUM_SCANS} scans; about ten are usual")
    with _translated():
        # Not Image.open: its check of pixels warns through a process-wide filter, and ours is stricter.
        image = _OPENERS[name](io.BytesIO(data))
    _check_pixels(*image.size, limits)
    return image, name


def _check_pixels(width: int, height: int, limits: PhotoLimits) -> None:
    if width < 1 or height < 1:
        raise PhotoError("damaged", f"the header says {width} x {height} pixels")
    if width * height > limits.max_pixels:
        message = f"{width} x {height} is {width * height / 1e6:.1f} megapixels"
        raise PhotoError("pixels", f"{message}, more than the {limits.max_pixels / 1e6:g} allowed")


def _check_webp(data: bytes, limits: PhotoLimits) -> None:
    """Size of the canvas by the container's header (RFC 9649): Pillow's opener allocates it at once."""
    if int.from_bytes(data[4:8], "little") + 8 > len(data) or len(data) < 30:
        raise PhotoError("truncated", "the WebP file ends before its end")
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
    elif chunk == b"VP8L":
        packed = int.from_bytes(data[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    elif chunk == b"VP8 ":
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    else:
        raise PhotoError("damaged", f"the WebP file starts with an unknown chunk {chunk!r}")
    _check_pixels(width, height, limits)


@contextmanager
def _translated() -> Iterator[None]:
    """Pillow meets a stranger's bytes here, and raises nearly anything: all of it becomes `PhotoError`."""
    try:
        yield
    except LookalikeError:
        raise
    except MemoryError as error:
        raise PhotoError("pixels", "not enough memory to decode it") from error
    except Exception as error:
        reason = str(error) or type(error).__name__
        rule = "truncated" if "truncated" in reason.lower() else "damaged"
        raise PhotoError(rule, f"cannot be decoded: {reason}") from error


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 (upright) where there is none or where it cannot be read."""
    raw = image.info.get("exif")
    if not raw:
        return 1
    exif = Image.Exif()
    try:
        exif.load(raw)
        value = exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block is no reason to refuse a photo
        return 1
    return value if value in _UPRIGHT else 1


def _info(image: Image.Image, name: Format) -> PhotoInfo:
    width, height = image.size
    if _orientation(image) in (5, 6, 7, 8):
        width, height = height, width
    return PhotoInfo(name, width, height)


def _resized(image: Image.Image, size: tuple[int, int], box: Box = _WHOLE) -> Image.Image:
    """`box` of the upright photo as an RGB image of `size`: decoded, resized while small, then turned."""
    turn, change = _UPRIGHT.get(_orientation(image), (None, (False, False, False)))
    x, y, w, h = _stored_box(box, change)
    stored_size = size[::-1] if change[0] else size
    if image.format == "JPEG":  # decode at 1/2, 1/4 or 1/8, but not below twice the size asked for
        image.draft("RGB", (round(2 * stored_size[0] / w), round(2 * stored_size[1] / h)))
    rgb = _rgb(image)
    area = _pixel_box((x, y, w, h), rgb.size)
    if (rgb.size, area) != (stored_size, (0.0, 0.0, *map(float, rgb.size))):
        rgb = rgb.resize(stored_size, Image.Resampling.BILINEAR, box=area)
    return rgb if turn is None else rgb.transpose(turn)


def _stored_box(box: Box, change: tuple[bool, bool, bool]) -> Box:
    x, y, w, h = box
    if not (w > 0 and h > 0 and x >= 0 and y >= 0 and x + w <= 1 + 1e-6 and y + h <= 1 + 1e-6):
        raise QueryError(f"box {x:g},{y:g},{w:g},{h:g} does not lie in the photo: give fractions of 0..1")
    swap, mirror_x, mirror_y = change
    if swap:
        x, y, w, h = y, x, h, w
    return 1 - x - w if mirror_x else x, 1 - y - h if mirror_y else y, w, h


def _pixel_box(box: Box, size: tuple[int, int]) -> Box:
    """Left, top, right, bottom in pixels, at least one pixel wide and high."""
    edges = []
    for start, span, pixels in ((box[0], box[2], size[0]), (box[1], box[3], size[1])):
        length = min(float(pixels), max(1.0, span * pixels))
        low = min(max(0.0, start * pixels), pixels - length)
        edges.append((low, low + length))
    return edges[0][0], edges[1][0], edges[0][1], edges[1][1]


def _rgb(image: Image.Image) -> Image.Image:
    """Decode (the first frame) to RGB; what is see-through shows white."""
    image.load()
    if not (image.mode.startswith("I") or image.has_transparency_data):
        return image if image.mode == "RGB" else image.convert("RGB")
    flat = Image.new("RGB", image.size, "white")
    for x, y in product(range(0, image.width, _TILE_SIDE), range(0, image.height, _TILE_SIDE)):
        tile = image.crop((x, y, min(x + _TILE_SIDE, image.width), min(y + _TILE_SIDE, image.height)))
        if tile.mode.startswith("I"):  # 16-bit grey, which convert() would clip at 255
            grey = (np.asarray(tile).astype(np.uint32) >> 8).astype(np.uint8)
            flat.paste(Image.fromarray(grey), (x, y))
        else:
            layer = tile if tile.mode == "RGBA" else tile.convert("RGBA")
            flat.paste(layer, (x, y), mask=layer.getchannel("A"))
    return flat


def _fitted(info: PhotoInfo, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(info.width, info.height))
    return max(1, round(info.width * scale)), max(1, round(info.height * scale))


def _jpeg(image: Image.Image, *, quality: int) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", image.size, image.tobytes()).save(out, "JPEG", quality=quality)
    return out.getvalue()


def _tile(data: bytes, side: int, font: _Font, limits: PhotoLimits) -> Image.Image:
    try:
        image, name = _open(data, limits)
        with _translated():
            return _resized(image, _fitted(_info(image, name), side))
    except PhotoError as error:
        field = Image.new("RGB", (side, side), "#dddddd")
        draw = ImageDraw.Draw(field)
        draw.text((side / 2, side / 2), error.rule, fill="#666666", font=font, anchor="mm")
        return field


def _cut(text: str, font: _Font, width: int) -> str:
    """As much of `text` as fits, with an ellipsis where some does not."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"
