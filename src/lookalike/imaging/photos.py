"""The only door for image bytes: past it they are pixels, or a `PhotoError` was raised.

Bytes enter; RGB arrays, small JPEGs and contact sheets leave. The formats of a closed list are recognised by their
first bytes and handed to that one decoder, so no other parser ever sees a stranger's bytes, and with what pixels depend
on alone (`headers`), so that none unpacks a stranger's profiles and texts. Size and effort are checked on the header
(`limits`), before pixels are allocated. Everything is flattened on white, turned upright, and made sRGB as its profile
says (`colour`); of moving pictures the first frame counts; a photo that ends early is refused rather than filled with
grey. Large JPEGs are decoded at a fraction of their size (libjpeg's scaled decoding), still at least twice as large as
asked. PNG cannot be decoded small; libwebp can, but Pillow does not pass that on.

Needs numpy and Pillow alone, and pi-heif once a HEIC comes; `prepare`, which only curation calls, imports imagehash.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageDraw,
    ImageFont,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from lookalike.errors import LookalikeError, PhotoError, QueryError
from lookalike.imaging import headers
from lookalike.imaging.colour import to_srgb
from lookalike.imaging.headers import Header
from lookalike.imaging.limits import (
    DEFAULT_LIMITS,
    Format,
    Limits,
    PhotoInfo,
    check_bytes,
    check_density,
    check_memory,
    check_pixels,
)
from lookalike.imaging.prints import prints_of
from lookalike.imaging.profiles import profile_of

Box = tuple[float, float, float, float]

AvifImagePlugin.DEFAULT_MAX_THREADS = (
    1  # each would keep planes of its own; photos are decoded side by side already
)


def _open_heic(file: io.BytesIO) -> Image.Image:
    """A HEIC, decoded: libheif has turned it upright, and has refused what claims absurd sizes."""
    import pi_heif

    decoded: Image.Image = pi_heif.HeifFile(file, convert_hdr_to_8bit=True).to_pillow()
    return decoded


_OPENERS: dict[Format, Callable[[io.BytesIO], Image.Image]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "HEIC": _open_heic,
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


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """What curation keeps of one photo, all from one decoding."""

    info: PhotoInfo
    stored: bytes
    """The photo as the curated snapshot keeps it: small photos as they came, profile and all, large ones in sRGB."""
    phash: int
    """64-bit DCT hash (imagehash.phash): photos that look alike differ in few bits."""
    prints: np.ndarray
    """uint8[2, 32, 32, 3]: the whole, and without its margins; copies are known by them."""


_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

_WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
_TILE_SIDE = 1024
"""Pixels of a photo's tiles, which are flattened one by one: copies of the whole would be most of its memory."""


def probe(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> PhotoInfo:
    """Format and size by the header alone. Raises `PhotoError`; a damaged body goes unnoticed."""
    return _checked(data, limits).info


def foresee(data: bytes, side: int, *, box: Box | None = None, limits: Limits = DEFAULT_LIMITS) -> PhotoInfo:
    """The same with the memory that `load_square` takes: less where a JPEG is decoded small. Raises as it does."""
    header = _checked(data, limits)
    scale = _Placement.of(header, (side, side), box or _WHOLE).scale
    return replace(header.info, decoding_bytes=header.decoding_bytes(scale))


def load_square(
    data: bytes, side: int, *, box: Box | None = None, limits: Limits = DEFAULT_LIMITS
) -> np.ndarray:
    """The photo, or `box` of it, as uint8[side, side, 3] RGB: antialiased bilinear, aspect ratio not kept.

    `box` is x, y, width, height as fractions of the upright photo. Raises `PhotoError`, and `QueryError`
    where the box does not lie in the photo.
    """
    image, header = _open(data, limits)
    with _translated():
        return np.array(_resized(image, header, (side, side), _profile(data, header), box or _WHOLE))


def thumbnail(
    data: bytes, side: int, *, kind: Literal["JPEG", "WEBP"] = "JPEG", limits: Limits = DEFAULT_LIMITS
) -> bytes:
    """A photo without metadata, upright, the longer side at most `side` pixels. As WebP the smallest take half the
    bytes. Raises `PhotoError`."""
    image, header = _open(data, limits)
    with _translated():
        small = _resized(image, header, _fitted(header.info, side), _profile(data, header))
        return _encoded(small, kind, quality=85 if kind == "JPEG" else 80)


def contact_sheet(
    entries: Sequence[tuple[bytes, str]], columns: int, side: int, *, limits: Limits = DEFAULT_LIMITS
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
    data: bytes, *, keep_side: int, shrunk_side: int, limits: Limits = DEFAULT_LIMITS
) -> PreparedPhoto:
    """Decode one photo once for curation.

    A photo whose shorter side has at most `keep_side` pixels is stored as it came, with its profile, so nothing of it
    is lost; a larger one upright, shrunk to a shorter side of `shrunk_side`, as JPEG of quality 90 in sRGB, which needs
    no profile of several hundred kilobytes. Raises `PhotoError`.
    """
    import imagehash  # with scipy, which a search process does not carry

    image, header = _open(data, limits)
    profile = _profile(data, header)
    info = header.info
    shorter = min(info.width, info.height)
    size = _shrunk(info, shrunk_side)
    with _translated():
        whole = _resized(image, header, size, profile)
        stored = data if shorter <= keep_side else _encoded(whole, quality=90)
        prints = prints_of(whole)
        bits = np.packbits(imagehash.phash(whole).hash.reshape(-1))
    return PreparedPhoto(info, stored, int.from_bytes(bits.tobytes(), "big"), prints)


def foresee_preparing(data: bytes, *, shrunk_side: int, limits: Limits = DEFAULT_LIMITS) -> int:
    """Bytes of memory that decoding takes in `prepare`. Raises `PhotoError` as that does by the header alone."""
    header = _checked(data, limits)
    return header.decoding_bytes(_Placement.of(header, _shrunk(header.info, shrunk_side), _WHOLE).scale)


def _shrunk(info: PhotoInfo, side: int) -> tuple[int, int]:
    """Width and height of an upright photo whose shorter side has at most `side` pixels."""
    scale = min(1.0, side / min(info.width, info.height))
    return max(1, round(info.width * scale)), max(1, round(info.height * scale))


def _checked(data: bytes, limits: Limits) -> Header:
    """The header, within the limits."""
    check_bytes(len(data), limits)
    header = headers.read(data)
    check_pixels(header.width, header.height, limits)
    check_density(header.width, header.height, len(data), limits)
    check_memory(header.info, limits)
    return header


def _open(data: bytes, limits: Limits) -> tuple[Image.Image, Header]:
    """An image whose pixels were not read yet, within the limits."""
    header = _checked(data, limits)
    pixels = headers.pixels_only(data, header, limits)
    with _translated():
        # Not Image.open: its check of pixels warns through a process-wide filter, and ours is stricter.
        image = _OPENERS[header.format](io.BytesIO(pixels))
    cropped = header.format == "HEIC" and image.width <= header.width and image.height <= header.height
    if image.size != (header.width, header.height) and not cropped:  # libheif applies a clean aperture
        raise PhotoError(
            "damaged", f"the header says {header.width} x {header.height}, the data {image.size}"
        )
    return image, header


@contextmanager
def _translated() -> Iterator[None]:
    """Pillow meets a stranger's bytes here, and raises nearly anything: all of it becomes `PhotoError`.

    Its own words may quote those bytes, so they are the cause of the error and no part of its message.
    """
    try:
        yield
    except LookalikeError:
        raise
    except MemoryError as error:
        raise PhotoError("pixels", "not enough memory to decode it") from error
    except Exception as error:
        if "truncated" in str(error).lower():
            raise PhotoError("truncated", "cannot be decoded: the file ends early") from error
        raise PhotoError("damaged", "cannot be decoded: the file is damaged") from error


@dataclass(frozen=True, slots=True)
class _Placement:
    """How a part of the upright photo comes from the stored one."""

    turn: Image.Transpose | None
    box: Box
    """The part, as fractions of the stored photo."""
    size: tuple[int, int]
    """Pixels that are wanted of it, before it is turned."""
    wanted: tuple[int, int]
    """Pixels that the whole stored photo should have at least, twice as many."""
    scale: int
    """A JPEG is decoded at 1/1, 1/2, 1/4 or 1/8, by what is wanted."""

    @classmethod
    def of(cls, header: Header, size: tuple[int, int], box: Box) -> _Placement:
        """Raises `QueryError` where the box does not lie in the photo."""
        turn, change = _UPRIGHT.get(header.orientation, (None, (False, False, False)))
        stored = _stored_box(box, change)
        size = size[::-1] if change[0] else size
        wanted = round(2 * size[0] / stored[2]), round(2 * size[1] / stored[3])
        most = min(header.width // wanted[0], header.height // wanted[1])
        scale = next((s for s in (8, 4, 2) if most >= s), 1) if header.format == "JPEG" else 1
        return cls(turn, stored, size, wanted, scale)


def _profile(data: bytes, header: Header) -> bytes | None:
    """The ICC profile that the file carries or describes; None where its numbers are sRGB."""
    return profile_of(data, header.colours) if header.colours else None


def _resized(
    image: Image.Image, header: Header, size: tuple[int, int], profile: bytes | None, box: Box = _WHOLE
) -> Image.Image:
    """`box` of the upright photo as an sRGB image of `size`: decoded, resized while small, then turned."""
    place = _Placement.of(header, size, box)
    if header.format == "JPEG":
        image.draft("RGB", place.wanted)
    flat = _flat(image)
    if flat.mode == "CMYK":  # inks do not mix as light does
        flat = to_srgb(flat, profile, as_browsers=header.format == "JPEG")
        profile = None
    area = _pixel_box(place.box, flat.size)
    if (flat.size, area) != (place.size, (0.0, 0.0, *map(float, flat.size))):
        flat = flat.resize(place.size, Image.Resampling.BILINEAR, box=area)
    rgb = to_srgb(flat, profile)
    return rgb if place.turn is None else rgb.transpose(place.turn)


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


_OPAQUE = ("L", "RGB", "CMYK", "LAB")


def _flat(image: Image.Image) -> Image.Image:
    """Decode (the first frame) to L, RGB, CMYK or LAB; what is see-through shows white."""
    image.load()
    deep = image.mode.startswith("I")  # 16-bit grey, which convert() would clip at 255
    if image.format == "BMP" and image.mode == "RGBA" and not image.getchannel("A").getbbox():
        return image.convert("RGB")  # the fourth byte was never filled in
    if not (deep or image.has_transparency_data):
        return image if image.mode in _OPAQUE else image.convert("L" if image.mode == "1" else "RGB")
    grey = deep or image.mode in ("L", "LA")
    flat = Image.new("L" if grey else "RGB", image.size, "white")
    for x, y in product(range(0, image.width, _TILE_SIDE), range(0, image.height, _TILE_SIDE)):
        tile = image.crop((x, y, min(x + _TILE_SIDE, image.width), min(y + _TILE_SIDE, image.height)))
        if deep:
            flat.paste(_from_sixteen_bits(tile, image.info.get("transparency")), (x, y))
        else:
            layer = tile.convert("LA" if grey else "RGBA")
            flat.paste(layer.convert(flat.mode), (x, y), mask=layer.getchannel("A"))
    return flat


def _from_sixteen_bits(tile: Image.Image, see_through: object) -> Image.Image:
    deep = np.asarray(tile).astype(np.uint32)
    grey = (deep >> 8).astype(np.uint8)
    if isinstance(see_through, int):
        grey[deep == see_through] = 255
    return Image.fromarray(grey)


def _fitted(info: PhotoInfo, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(info.width, info.height))
    return max(1, round(info.width * scale)), max(1, round(info.height * scale))


def _encoded(image: Image.Image, kind: str = "JPEG", *, quality: int) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", image.size, image.tobytes()).save(out, kind, quality=quality)
    return out.getvalue()


def _tile(data: bytes, side: int, font: _Font, limits: Limits) -> Image.Image:
    try:
        image, header = _open(data, limits)
        with _translated():
            return _resized(image, header, _fitted(header.info, side), _profile(data, header))
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
