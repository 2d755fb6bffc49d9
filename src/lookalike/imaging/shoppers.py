"""A gallery's photo as a shopper would have taken it: turned, cut off, badly lit, blurred, noisy, saved badly.

Enters: a photo and a number, by which everything is drawn. Leaves: a JPEG. How bad such photos are was chosen by those
of the sample's shoppers (docs/ranking.md).
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

from lookalike.imaging.photos import thumbnail

_SIDE = 480
"""Pixels of the longer side: encoders see less."""
_TURN, _CUT, _LIGHT, _CONTRAST, _TINT = 6.0, 0.22, 0.26, 0.19, 0.06
"""Degrees; share of a side; the others as logarithms of a factor."""
_BLUR, _NOISE, _QUALITY = 1 / 215, (1.5, 7.5), (40, 85)
"""Of the shorter side; grey levels; of the JPEG."""


def as_a_shopper(photo: bytes, seed: int) -> bytes:
    """The photo taken anew. Raises `PhotoError`."""
    rng = np.random.default_rng(seed)
    with Image.open(io.BytesIO(thumbnail(photo, _SIDE))) as opened:
        image = opened.convert("RGB")
    image = image.rotate(
        rng.uniform(-_TURN, _TURN), Image.Resampling.BILINEAR, fillcolor=image.getpixel((1, 1))
    )
    width, height = image.size
    kept = 1 - rng.uniform(0, _CUT)
    x, y = rng.uniform(0, 1 - kept, 2)
    image = image.crop(
        (round(x * width), round(y * height), round((x + kept) * width), round((y + kept) * height))
    )
    image = ImageEnhance.Brightness(image).enhance(float(np.exp(rng.uniform(-_LIGHT, _LIGHT))))
    image = ImageEnhance.Contrast(image).enhance(float(np.exp(rng.uniform(-_CONTRAST, _CONTRAST))))
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, _BLUR * min(image.size)))))
    pixels = np.asarray(image, np.float64) * np.exp(rng.uniform(-_TINT, _TINT, 3))
    pixels += rng.normal(0, rng.uniform(*_NOISE), pixels.shape)
    out = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(
        out, "JPEG", quality=int(rng.integers(*_QUALITY))
    )
    return out.getvalue()
