"""How one product looks, and the small mark by which its brand is known."""

from __future__ import annotations

import math
from dataclasses import dataclass

from PIL import Image

from sample_shop.drawing import Colour, Drawing, Point, arc, box, darker

BRANDS = ("norra", "tivik", "orso", "halden", "mirko", "sulpa")


@dataclass(frozen=True, slots=True)
class Look:
    """Surface of the main parts (an image as large as the board), its colours, and the brand."""

    surface: Image.Image
    colour: Colour
    second: Colour
    brand: str

    @property
    def seam(self) -> Colour:
        """A line that is seen on the main colour, as a seam is."""
        return darker(self.colour, 0.62 if sum(self.colour) > 200 else 1.5)

    @property
    def inside(self) -> Colour:
        """The main colour in its own shadow."""
        return darker(self.colour, 0.5)


def mark(drawing: Drawing, centre: Point, size: float, look: Look) -> None:
    """The brand's mark, light on dark or dark on light."""
    ink = (240, 238, 230) if sum(look.colour) < 400 else (40, 40, 46)
    x, y = centre
    match look.brand:
        case "norra":
            drawing.ellipse(centre, (size, size), ink, volume=0)
            drawing.ellipse(centre, (size * 0.55, size * 0.55), look.colour, volume=0)
        case "tivik":
            drawing.part([(x, y - size), (x + size, y + size), (x - size, y + size)], ink, cut=0, volume=0)
        case "orso":
            for dx in (-1, 0, 1):
                bar = box(
                    x + dx * size * 0.8 - size * 0.25, y - size, x + dx * size * 0.8 + size * 0.25, y + size
                )
                drawing.part(bar, ink, cut=0, volume=0)
        case "halden":
            drawing.part(
                [(x, y - size * 1.2), (x + size, y), (x, y + size * 1.2), (x - size, y)], ink, cut=0, volume=0
            )
        case "mirko":
            turns = [math.pi * i / 5 - math.pi / 2 for i in range(10)]
            radii = [size * (1.2 if i % 2 == 0 else 0.5) for i in range(10)]
            star = [(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(turns, radii, strict=True)]
            drawing.part(star, ink, cut=0, volume=0)
        case _:
            drawing.stroke(
                arc((x - size * 0.5, y), (size * 0.5, size * 0.6), 180, 360, 9), ink, size * 0.4, cut=0
            )
            drawing.stroke(
                arc((x + size * 0.5, y), (size * 0.5, size * 0.6), 0, 180, 9), ink, size * 0.4, cut=0
            )
