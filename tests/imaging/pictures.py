"""Made pictures, as files, for tests of the door for image bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

RED, GREEN, BLUE, WHITE = (220, 30, 30), (30, 180, 40), (30, 40, 220), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def quarters(width: int = 80, height: int = 60) -> Image.Image:
    """Red and green above, blue and white below: every turn and mirror of it is different."""
    image = Image.new("RGB", (width, height), WHITE)
    image.paste(RED, (0, 0, width // 2, height // 2))
    image.paste(GREEN, (width // 2, 0, width, height // 2))
    image.paste(BLUE, (0, height // 2, width // 2, height))
    return image


def waves(width: int, height: int) -> Image.Image:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    bands = [127 + 120 * np.sin(9 * x), 127 + 120 * np.sin(7 * y), 120 * (x + y * y)]
    return Image.fromarray(np.stack(bands, axis=2).astype(np.uint8))
