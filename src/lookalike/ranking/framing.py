"""What part of a query photo is encoded: the box that somebody drew, with the margin that gallery photos have.

A box is drawn tightly around a thing; a gallery's photos leave some room around theirs, and the network has learned
from them. A photo that is cut at the edges of the thing looks different from all of them.
"""

from __future__ import annotations

from lookalike.imaging.photos import Box


def framed(box: Box | None, margin: float) -> Box | None:
    """`box` (x, y, width, height as fractions of the photo) with `margin` of its width and height more on each side,
    as far as the photo reaches; None, the whole photo, stays None."""
    if box is None:
        return None
    x, y, width, height = box
    left, across = _widened(x, width, margin)
    top, down = _widened(y, height, margin)
    return left, top, across, down


def _widened(start: float, length: float, margin: float) -> tuple[float, float]:
    low = max(0.0, start - margin * length)
    return low, min(1.0, start + length * (1 + margin)) - low
