"""A drawing board for product pictures: parts with a surface, soft volume and antialiased edges.

Coordinates run from 0 to 1, x to the right and y down, as fractions of the board's side. A part is an outline
whose corners may be cut round, filled with a surface (an image as large as the board) and shaded as if light
came from the upper left. Colours are kept multiplied by their coverage, so that a drawing can be turned, scaled
and laid over anything without dark or bright seams.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Point = tuple[float, float]
Colour = tuple[int, int, int]

_FINE = 2  # masks are drawn this much finer than the board


class Drawing:
    """An object on nothing. `wobble` bends all lines softly by about that much, as cloth that lies anyhow."""

    def __init__(self, side: int, rng: random.Random, wobble: float = 0.0) -> None:
        self.side, self.rng, self.wobble = side, rng, wobble
        self._waves = [(rng.uniform(4, 11), rng.uniform(4, 11), rng.uniform(0, 7)) for _ in range(4)]
        self.colour = Image.new("RGB", (side, side))
        self.cover = Image.new("L", (side, side))

    def part(
        self, outline: Sequence[Point], surface: Image.Image | Colour, *, cut: int = 2, volume: float = 0.3
    ) -> None:
        """Fill an outline. `cut` rounds its corners (0: sharp), `volume` is how strongly its edges fall
        away.
        """
        points = self._bent(_rounded(list(outline), cut))
        left, top, right, bottom = self._frame(points)
        mask = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE))
        scale = self.side * _FINE
        shifted = [(x * scale - left * _FINE, y * scale - top * _FINE) for x, y in points]
        ImageDraw.Draw(mask).polygon(shifted, fill=255)
        self._lay(mask.reduce(_FINE), (left, top), surface, volume)

    def ellipse(
        self, centre: Point, radii: Point, surface: Image.Image | Colour, *, volume: float = 0.3
    ) -> None:
        """Fill an upright ellipse."""
        self.part(arc(centre, radii, 0, 360), surface, cut=0, volume=volume)

    def stroke(
        self,
        points: Sequence[Point],
        colour: Colour,
        width: float,
        *,
        cut: int = 2,
        volume: float = 0.0,
        within: bool = False,
    ) -> None:
        """Draw a line of that width (a fraction of the side) with round ends; `within` keeps it on the
        object.
        """
        line = self._bent(_rounded(list(points), cut, closed=False))
        left, top, right, bottom = self._frame(line, width)
        mask = Image.new("L", ((right - left) * _FINE, (bottom - top) * _FINE))
        scale, pen = self.side * _FINE, max(1, round(width * self.side * _FINE))
        shifted = [(x * scale - left * _FINE, y * scale - top * _FINE) for x, y in line]
        draw = ImageDraw.Draw(mask)
        draw.line(shifted, fill=255, width=pen, joint="curve")
        if pen > 3:
            for x, y in (shifted[0], shifted[-1]):
                draw.ellipse((x - pen / 2, y - pen / 2, x + pen / 2, y + pen / 2), fill=255)
        mask = mask.reduce(_FINE)
        if within:
            mask = ImageChops.multiply(mask, self.cover.crop((left, top, right, bottom)))
        self._lay(mask, (left, top), colour, volume)

    def seam(self, points: Sequence[Point], colour: Colour, width: float, *, cut: int = 2) -> None:
        """A line that ends where the object ends."""
        self.stroke(points, colour, width, cut=cut, within=True)

    def gleam(self, points: Sequence[Point], width: float, strength: float) -> None:
        """A soft streak of reflected light on what is drawn already."""
        side = self.side
        mask = Image.new("L", (side, side))
        line = [(x * side, y * side) for x, y in _rounded(list(points), 2, closed=False)]
        ImageDraw.Draw(mask).line(line, fill=round(255 * strength), width=max(1, round(width * side)))
        mask = mask.filter(ImageFilter.GaussianBlur(width * side / 2))
        lit = self.colour.copy()
        lit.paste(self.cover.convert("RGB"), mask=mask)
        self.colour = lit

    def _bent(self, points: list[Point]) -> list[Point]:
        if not self.wobble:
            return points
        (ax, ay, a), (bx, by, b), (cx, cy, c), (dx, dy, d) = self._waves
        return [
            (
                x + self.wobble * (math.sin(ax * x + ay * y + a) + math.sin(bx * x - by * y + b)),
                y + self.wobble * (math.sin(cx * x + cy * y + c) + math.sin(dx * x - dy * y + d)),
            )
            for x, y in points
        ]

    def _frame(self, points: Sequence[Point], margin: float = 0.0) -> tuple[int, int, int, int]:
        """Pixels that the points span, with room for a margin and for soft shading."""
        pad = margin + 6 / self.side
        xs, ys = [x for x, _ in points], [y for _, y in points]
        low = [max(0, min(self.side - 2, int((min(v) - pad) * self.side))) for v in (xs, ys)]
        high = [min(self.side, max(2, int((max(v) + pad) * self.side) + 1)) for v in (xs, ys)]
        return low[0], low[1], max(high[0], low[0] + 2), max(high[1], low[1] + 2)

    def _lay(
        self, mask: Image.Image, at: tuple[int, int], surface: Image.Image | Colour, volume: float
    ) -> None:
        box = (*at, at[0] + mask.width, at[1] + mask.height)
        piece = (
            surface.crop(box) if isinstance(surface, Image.Image) else Image.new("RGB", mask.size, surface)
        )
        if volume:
            piece = _shaded(piece, mask, volume)
        self.colour.paste(piece, box, mask)
        self.cover.paste(255, box, mask)


def arc(centre: Point, radii: Point, start: float, end: float, steps: int = 40) -> list[Point]:
    """Points of an ellipse from `start` to `end` degrees, clockwise from the right."""
    angles = np.radians(np.linspace(start, end, steps))
    xs, ys = centre[0] + radii[0] * np.cos(angles), centre[1] + radii[1] * np.sin(angles)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def mirrored(half: Sequence[Point], axis: float = 0.5) -> list[Point]:
    """A whole outline from its right half, which runs from the top of the axis to its bottom."""
    return [*half, *((2 * axis - x, y) for x, y in reversed(half))]


def box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """The four corners of a rectangle, with a point on each side so that cut corners stay near them."""
    x, y = (right - left) / 6, (bottom - top) / 6
    return [
        (left + x, top), (right - x, top), (right, top + y), (right, bottom - y),
        (right - x, bottom), (left + x, bottom), (left, bottom - y), (left, top + y),
    ]  # fmt: skip


def moved(points: Sequence[Point], dx: float, dy: float, scale: float = 1.0) -> list[Point]:
    """The points scaled about the middle of the board, then shifted."""
    return [(0.5 + (x - 0.5) * scale + dx, 0.5 + (y - 0.5) * scale + dy) for x, y in points]


def darker(colour: Colour, factor: float) -> Colour:
    """The colour times `factor`; above 1 it goes towards white."""
    if factor <= 1:
        return (int(colour[0] * factor), int(colour[1] * factor), int(colour[2] * factor))
    red, green, blue = (int(255 - (255 - v) / factor) for v in colour)
    return (red, green, blue)


def _rounded(points: list[Point], cuts: int, closed: bool = True) -> list[Point]:
    """Corner cutting after Chaikin (1974): each pass takes a quarter off both ends of every edge."""
    line = np.array(points)
    for _ in range(cuts):
        following = np.roll(line, -1, axis=0) if closed else line[1:]
        start = line if closed else line[:-1]
        cut = np.stack([0.75 * start + 0.25 * following, 0.25 * start + 0.75 * following], axis=1)
        cut = cut.reshape(-1, 2)
        line = cut if closed else np.concatenate([line[:1], cut, line[-1:]])
    return [(float(x), float(y)) for x, y in line]


def _shaded(piece: Image.Image, mask: Image.Image, volume: float) -> Image.Image:
    reach = max(2.0, min(mask.size) * 0.09)
    soft = np.asarray(mask.filter(ImageFilter.BoxBlur(reach)), np.float32) / 255
    step = max(1, round(reach / 2))
    toward_light = np.roll(soft, (-step, -step), (0, 1)) - np.roll(soft, (step, step), (0, 1))
    return under(1 + volume * (soft - 1 + 0.45 * toward_light), np.asarray(piece))


def under(
    light: np.ndarray,
    pixels: np.ndarray,
    tint: Sequence[float] = (1.0, 1.0, 1.0),
    grain: np.ndarray | float = 0.0,
) -> Image.Image:
    """An RGB image of `pixels` [h, w, 3] in 0..255 times `light` f32[h, w] and `tint`, plus `grain`.

    Channel by channel: NumPy takes several times as long over a last axis of three.
    """
    lit = np.empty(pixels.shape, np.uint8)
    for channel, factor in enumerate(np.array(tint, np.float32)):
        values = pixels[..., channel] * light
        values *= factor
        values += grain
        lit[..., channel] = values.clip(0, 255, out=values)
    return Image.fromarray(lit)


@cache
def grid(side: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of every pixel, float32[side, side] in 0..1."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    return x, y


def clouds(rng: np.random.Generator, side: int, cells: int, stretch: float = 1.0) -> np.ndarray:
    """Soft noise, float32[side, side] about 0 with deviation near 1; `stretch` above 1 draws it out
    downwards."""
    coarse = rng.standard_normal((max(2, round(cells / stretch)), cells)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)) * 1.3
