"""Small prints of a photo, by which copies are told from photos that only look alike (`catalogue.copies`).

A photo's pixels enter; two small squares leave: the whole photo, and what is left of it without uniform margins. A shop
that re-posts a photo pads it to a square or frames it; the second print is the same all the same. Computed once, where
the photo is decoded.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 32
"""Pixels of a print's sides."""
_UNIFORM = 16
"""Grey levels by which pixels of a margin differ from its colour, at most: JPEG's noise beside a red frame is below."""
_STRAY = 0.03
"""Share of a row's pixels that may differ more: dust, and ringing beside an edge."""
_LEAST = 0.2
"""Of a side, that is left at least; less is no photo with margins but one of a small thing."""
_LAYERS = 8
"""A frame, a margin within it, another, and between two the rows in which JPEG mixes their colours."""
_ROWS = 16
_HALVED = 128


def prints_of(image: Image.Image) -> np.ndarray:
    """uint8[2, 32, 32, 3] of an RGB image: the whole, and without its margins, aspect ratio not kept."""
    half = 2 if min(image.size) >= _HALVED else 1  # means of four pixels have less of JPEG's noise
    left, top, right, bottom = (half * edge for edge in content(np.asarray(image.reduce(half))))
    box = left, top, min(right, image.width), min(bottom, image.height)
    return np.stack([_print(image, None), _print(image, box)])


def content(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of uint8[h, w, 3] without uniform margins, layer by layer."""
    height, width = pixels.shape[:2]
    left, top, right, bottom = 0, 0, width, height
    for _ in range(_LAYERS):
        inner = pixels[top:bottom, left:right]
        up, down = _margin(inner), _margin(inner[::-1])
        if up >= len(inner):
            break
        inner = inner[up : len(inner) - down].swapaxes(0, 1)
        before, behind = _margin(inner), _margin(inner[::-1])
        box = left + before, top + up, right - behind, bottom - down
        if box[2] - box[0] < _LEAST * width or box[3] - box[1] < _LEAST * height:
            break
        if box == (left, top, right, bottom):
            break
        left, top, right, bottom = box
    return left, top, right, bottom


def _margin(rows: np.ndarray) -> int:
    """How many rows from the first on are of the first one's colour."""
    colour = np.median(rows[0], axis=0).astype(np.int16)
    for at in range(0, len(rows), _ROWS):
        strays = (np.abs(rows[at : at + _ROWS] - colour).max(axis=2) > _UNIFORM).mean(axis=1)
        other = np.flatnonzero(strays > _STRAY)
        if len(other):
            return at + int(other[0])
    return len(rows)


def _print(image: Image.Image, box: tuple[int, int, int, int] | None) -> np.ndarray:
    return np.array(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))
