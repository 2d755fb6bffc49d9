"""Photos that cost more than they say: name -> (bytes, the rule they are refused by, or "" where they are a photo).

Each is small to send. What it would cost a decoder that trusts it stands beside it: memory by a size that is only
claimed, time by passes and pieces, or what is inflated and copied before the first pixel is looked at.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image

FLAT_WEBP = bytes.fromhex("524946461e000000574542505650384c110000002fe3dbf81607508fe295a7808188e87f0000")
"""A lossless WebP of one colour, 7140 x 7140: 38 bytes, all sound, and 0.9 GB to decode."""


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def noise(width: int = 80, height: int = 60) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(0, 256, (height, width, 3), np.uint8))


# --- PNG ----------------------------------------------------------------------------------------------------------


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(
    width: int, height: int, *between: bytes, colour: int = 2, data: bytes | None = None, interlaced: int = 0
) -> bytes:
    """A PNG of that size by its header; `between` header and data."""
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced)
    pixels = zlib.compress(bytes((3 * width + 1) * height)) if data is None else data
    end = chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(between) + end


def claimed_png(interlaced: int = 0) -> bytes:
    return png(7000, 7000, data=zlib.compress(bytes(1000)), interlaced=interlaced)


def inflating(name: bytes, prefix: bytes, inflated: int, count: int) -> bytes:
    """`count` chunks of compressed text or profile before the image data of a small photo."""
    return png(80, 60, *[chunk(name, prefix + zlib.compress(bytes(inflated), 9))] * count)


def empty_data_chunks() -> bytes:
    whole = png(80, 60)
    at = whole.index(b"IDAT") - 4
    return whole[:at] + chunk(b"IDAT", b"") * 200_000 + whole[at:]


def apng() -> bytes:
    frame = zlib.compress(bytes((3 * 80 + 1) * 60))
    control = struct.pack(">IIIIIHHBB", 0, 80, 60, 0, 0, 1, 10, 0, 0)
    frames = [chunk(b"fcTL", control)]
    still = png(80, 60, chunk(b"acTL", struct.pack(">II", 5000, 0)), *frames)
    at = still.index(b"IEND") - 4
    more = (chunk(b"fcTL", control) + chunk(b"fdAT", bytes(4) + frame)) * 5000
    return still[:at] + more + still[at:]


# --- WebP ---------------------------------------------------------------------------------------------------------


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    body = b"".join(n + struct.pack("<I", len(b)) + b + bytes(len(b) & 1) for n, b in chunks)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def canvas(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X", bytes([flags, 0, 0, 0]) + sides


def frame(width: int, height: int, data: bytes) -> tuple[bytes, bytes]:
    """An animation's frame at the upper left corner, from a whole WebP file."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"ANMF", bytes(6) + sides + (40).to_bytes(3, "little") + b"\0" + data[12:]


def animation(width: int, height: int, count: int) -> bytes:
    still = encoded(noise(), "WEBP", quality=50)
    return riff(canvas(width, height, 2), (b"ANIM", bytes(6)), *[frame(80, 60, still)] * count)


def padded_webp(padding: int) -> bytes:
    """The flat one with so much behind its pixels that the size alone gives nothing away."""
    return riff((b"VP8L", FLAT_WEBP[20:37] + bytes(padding)))


# --- JPEG ---------------------------------------------------------------------------------------------------------


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*before: bytes, **options: object) -> bytes:
    """A small JPEG with something between its first marker and the rest."""
    data = encoded(noise(), "JPEG", **options)
    return data[:2] + b"".join(before) + data[2:]


def resized_jpeg(width: int, height: int, *after: bytes) -> bytes:
    """A JPEG whose header says another size than its data has."""
    data = bytearray(encoded(noise(), "JPEG"))
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(data[:-2]) + b"".join(after) + b"\xff\xd9"


def many_scans() -> bytes:
    data = encoded(Image.new("RGB", (4000, 4000), (90, 120, 200)), "JPEG", progressive=True)
    refinement = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + refinement * 90 + b"\xff\xd9"


def lossless_jpeg() -> bytes:
    data = bytearray(encoded(noise(), "JPEG"))
    data[data.index(b"\xff\xc0") + 1] = 0xC3
    return bytes(data)


# --- BMP, GIF, TIFF, AVIF -----------------------------------------------------------------------------------------


def bmp(width: int, height: int, compression: int = 0, data: bytes = b"") -> bytes:
    """A BMP of that size by its header."""
    bits = 8 if compression == 1 else 24
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + info + data


def gif(width: int, height: int, between: bytes = b"", frame: tuple[int, int] = (80, 60)) -> bytes:
    """A GIF of that size by its header, and of another by its frame."""
    screen = struct.pack("<HHBBB", width, height, 0, 0, 0)
    return (
        b"GIF89a" + screen + between + b"," + struct.pack("<4HB", 0, 0, *frame, 0) + b"\x08\x02\x00\x00\x00;"
    )


def tiff(tags: dict[int, int], data: bytes = b"", counts: int | None = None) -> bytes:
    """A TIFF of 80 x 60 grey pixels, but for `tags`; each has one value, or claims `counts`."""
    values = {
        256: 80,
        257: 60,
        258: 8,
        259: 1,
        262: 1,
        273: 8,
        277: 1,
        278: 60,
        279: len(data) or 4800,
    } | tags
    body = data or bytes(4800)
    entries = [
        struct.pack("<HHII", tag, 4, (counts or 1) if tag == 273 else 1, v)
        for tag, v in sorted(values.items())
    ]
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + directory


AVIF_HEAD = struct.pack(">I4s4sI4s", 20, b"ftyp", b"avif", 0, b"mif1")


def shrunk_avif() -> bytes:
    """An AVIF of 2000 x 2000 pixels whose container says 80 x 60."""
    whole = encoded(Image.new("RGB", (2000, 2000)), "AVIF", quality=20, speed=10)
    stated = struct.pack(">II", 2000, 2000)
    assert stated in whole
    return whole.replace(stated, struct.pack(">II", 80, 60))


# --- EXIF ---------------------------------------------------------------------------------------------------------


def exif(entries: int, each: int, behind: int) -> bytes:
    """A directory of `entries` tags, each of which claims the same `each` bytes; `behind` bytes follow it."""
    tags = b"".join(struct.pack("<HHII", n, 7, each, 8) for n in range(1, entries + 1) if n != 0x0112)
    count = len(tags) // 12
    return b"II*\0" + struct.pack("<IH", 8, count) + tags + bytes(4) + bytes(behind)


def exif_jpeg() -> bytes:
    """In pieces, which some readers put together."""
    whole = exif(60_000, 1_500_000, 1_000_000)
    pieces = [whole[at : at + 65_000] for at in range(0, len(whole), 65_000)]
    return jpeg(*[segment(0xE1, b"Exif\0\0" + piece) for piece in pieces])


def exif_webp() -> bytes:
    still = encoded(noise(), "WEBP", quality=50)
    return riff(canvas(80, 60, 8), (b"VP8 ", still[20:]), (b"EXIF", exif(60_000, 1_500_000, 1_000_000)))


Attack = tuple[Callable[[], bytes], str]

ATTACKS: dict[str, Attack] = {
    "webp-flat": (lambda: FLAT_WEBP, "effort"),
    "webp-flat-padded": (lambda: padded_webp(100_000), "effort"),
    "webp-flat-beside-padding": (lambda: FLAT_WEBP + bytes(100_000), "effort"),
    "webp-canvas-of-268-megapixels": (lambda: animation(16_384, 16_384, 1), "pixels"),
    "webp-canvas-of-16-megapixels": (lambda: animation(4000, 4000, 1), "effort"),
    "webp-larger-than-its-canvas": (lambda: riff(canvas(80, 60), (b"VP8L", FLAT_WEBP[20:37])), "damaged"),
    "webp-of-5000-frames": (lambda: animation(80, 60, 5000), ""),
    "webp-of-a-million-chunks": (lambda: riff(canvas(80, 60), *[(b"junk", b"")] * 200_000), "damaged"),
    "webp-exif": (exif_webp, ""),
    "png-claimed": (claimed_png, "effort"),
    "png-claimed-interlaced": (lambda: claimed_png(1), "effort"),
    "png-of-two-billion-rows": (lambda: png(2**31 - 1, 2**31 - 1, data=b"x"), "pixels"),
    "png-flat": (lambda: png(7000, 7000, colour=0, data=zlib.compress(bytes(49_007_000), 9)), "effort"),
    "png-ztxt": (lambda: inflating(b"zTXt", b"a\0\0", 1_000_000, 60), ""),
    "png-itxt": (lambda: inflating(b"iTXt", b"a\0\1\0\0\0", 1_000_000, 60), ""),
    "png-text-of-100-mb": (lambda: inflating(b"zTXt", b"a\0\0", 100_000_000, 1), ""),
    "png-iccp": (lambda: inflating(b"iCCP", b"a\0\0", 1_000_000, 3000), ""),
    "png-empty-data-chunks": (empty_data_chunks, "damaged"),
    "png-of-5000-frames": (apng, ""),
    "png-of-15000-texts": (lambda: png(80, 60, *[chunk(b"tEXt", b"a\0b")] * 15_000), ""),
    "png-exif": (lambda: png(80, 60, chunk(b"eXIf", exif(60_000, 1_500_000, 1_000_000))), ""),
    "jpeg-of-100-scans": (many_scans, "effort"),
    "jpeg-claimed": (lambda: resized_jpeg(65_000, 780), "effort"),
    "jpeg-without-height": (lambda: resized_jpeg(80, 0, segment(0xDC, struct.pack(">H", 65_000))), "damaged"),
    "jpeg-of-a-million-segments": (lambda: jpeg(*[segment(0xFE, b"")] * 1_000_000), "damaged"),
    "jpeg-with-junk": (lambda: jpeg(segment(0xFE, b""), bytes(5_000_000)), ""),
    "jpeg-with-fill": (lambda: jpeg(b"\xff" * 5_000_000), "damaged"),
    "jpeg-with-fill-in-its-scans": (
        lambda: jpeg(progressive=True)[:-2] + b"\xff" * 5_000_000 + b"\xff\xd9",
        "damaged",
    ),
    "jpeg-exif": (exif_jpeg, ""),
    "jpeg-lossless": (lossless_jpeg, "type"),
    "bmp-claimed": (lambda: bmp(30_000, 30_000), "pixels"),
    "bmp-claimed-smaller": (lambda: bmp(5000, 5000), "effort"),
    "bmp-of-a-million-runs": (lambda: bmp(2000, 2000, 1, b"\x01\x07" * 3_000_000), "effort"),
    "bmp-that-is-a-jpeg": (lambda: bmp(80, 60, 4, jpeg()), "type"),
    "gif-claimed": (lambda: gif(65_535, 65_535), "pixels"),
    "gif-whose-frame-is-larger": (lambda: gif(80, 60, frame=(65_535, 65_535)), "pixels"),
    "gif-of-a-million-blocks": (lambda: gif(80, 60, b"!\xfe" + b"\x01a" * 1_000_000), "truncated"),
    "gif-without-a-frame": (lambda: b"GIF89a" + bytes(47), "damaged"),
    "tiff-claimed": (lambda: tiff({256: 30_000, 257: 30_000}), "pixels"),
    "tiff-of-60000-tags": (lambda: b"II*\0" + struct.pack("<IH", 8, 60_000) + bytes(720_000), "damaged"),
    "tiff-of-a-billion-strips": (lambda: tiff({273: 1 << 30}, counts=1 << 30), "damaged"),
    "tiff-of-a-giant-strip": (
        lambda: tiff({278: 1 << 31, 322: 60_000, 323: 60_000, 324: 8, 325: 9}),
        "effort",
    ),
    "tiff-deflated-flat": (
        lambda: tiff({256: 5000, 257: 5000, 258: 1, 259: 8}, zlib.compress(bytes(3_125_000), 9)),
        "effort",
    ),
    "tiff-of-progressive-jpeg": (lambda: tiff({259: 7}, encoded(noise(), "JPEG", progressive=True)), "type"),
    "tiff-of-fax": (lambda: tiff({259: 4}, bytes(2000)), "type"),
    "avif-larger-than-it-says": (lambda: shrunk_avif(), "damaged"),
    "avif-flat": (lambda: encoded(Image.new("RGB", (4500, 4500)), "AVIF", quality=20, speed=10), "effort"),
    "avif-of-a-million-boxes": (lambda: AVIF_HEAD + struct.pack(">I4s", 8, b"free") * 1_000_000, "damaged"),
    "heic-without-a-picture": (lambda: AVIF_HEAD.replace(b"avif", b"heic") + bytes(100), "damaged"),
}
