"""How training photos are varied: the numbers that a recipe sets, and `transforms` draws by.

No torch here: so recipes can be listed and named by processes that do not carry it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far a training photo may differ from the photo. The defaults are moderate."""

    whole_pixels: bool = False
    """Cut the crop out of the square at a random place as it is, and mirror it perhaps, as the paper: `area`, `aspect`
    and `degrees` then mean nothing."""
    area: tuple[float, float] = (0.35, 1.0)
    """Share of the square's area that is seen; beyond 1 the photo becomes smaller, and its edges are reflected."""
    aspect: float = 1.33
    """The view's sides may differ by up to this factor."""
    degrees: float = 10.0
    """Rotation, at most, either way."""
    mirror: float = 0.5
    """Share of photos that are mirrored."""
    brightness: float = 0.3
    """A factor is drawn from 1 minus to 1 plus the value."""
    contrast: float = 0.3
    """The same of contrast."""
    saturation: float = 0.3
    """The same of saturation."""
    tint: float = 0.1
    """The same per colour channel: the colour of the light."""
    grey: float = 0.05
    """Share of photos that lose their colour."""
    blur: float = 0.1
    """Share of photos that are blurred."""
    erase: float = 0.25
    """Share of photos of which a rectangle is replaced by the batch's mean colour."""
