"""What is wrong in the sample on purpose, so that curation has something to find: broken files, copies, wrong
rows."""

from __future__ import annotations

import io
import random

from PIL import Image, ImageEnhance

BROKEN = {
    "text": 4,
    "empty": 1,
    "truncated": 3,
    "tiny": 3,
    "strip": 3,
    "blank": 4,
    "missing": 2,
}
"""How many photos of each broken kind the sample has."""


def broken_photo(flaw: str, good: bytes, rng: random.Random) -> bytes | None:
    """The bytes of a broken photo made from a good one; None where the file is to be missing."""
    match flaw:
        case "text":
            return b"<html><body>404 photo not found</body></html>\n"
        case "empty":
            return b""
        case "truncated":
            return good[: len(good) * rng.randint(30, 70) // 100]
        case "tiny":
            return _jpeg(_opened(good).resize((20, 24)), 85)
        case "strip":
            return _jpeg(_opened(good).resize((420, 40)), 85)
        case "blank":
            grey = rng.randint(120, 250)
            return _jpeg(Image.new("RGB", (200, 200), (grey, grey, grey)), 85)
        case _:
            return None


def near_copy(good: bytes, rng: random.Random) -> bytes:
    """The same photo saved anew, as when it is taken from somebody else's listing: other size, other
    bytes."""
    image = _opened(good)
    scale = rng.uniform(0.8, 1.25)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return _jpeg(ImageEnhance.Brightness(image).enhance(rng.uniform(0.95, 1.06)), rng.randint(60, 80))


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data), formats=("JPEG",)).convert("RGB")


def _jpeg(image: Image.Image, quality: int) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()
