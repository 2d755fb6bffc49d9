"""Photos that show too little: blurred ones and dark ones, by their pixels alone.

A sharp photo has somewhere an edge that is as steep as its contrast allows; so the half percent of pixels that differ
most from their neighbours is held against the photo's range of greys. Of 450 real photos at 224 pixels the lowest has
0.17; blurred by a Gaussian of 3 pixels the highest has 0.11, half of them less than 0.05. Measures of energy (variance
of the Laplacian) take every plain thing before a plain wall for blurred.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SIDE = 224
"""Pixels that photos are judged at; a larger one is blurred only where one sees it at this size."""
BLURRED = 0.08
DARK = 60.0
"""Grey level (0..255) that the lightest twentieth of a photo's pixels stays below."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def sharpness(square: NDArray[np.uint8]) -> float:
    """Of a photo u8[side, side, 3]: how steep its steepest edges are, 0 to about 2; below `BLURRED` it is blurred."""
    grey = square @ _GREY
    apart = np.abs(4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:])
    dark, light = np.percentile(grey, [5, 95])
    return float(np.percentile(apart, 99.5) / max(1.0, light - dark))


def lightness(square: NDArray[np.uint8]) -> float:
    """The grey level that a twentieth of a photo's pixels exceeds; below `DARK` it is dark."""
    return float(np.percentile(square @ _GREY, 95))
