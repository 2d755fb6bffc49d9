"""An amateur's photo of a drawing: ground, clutter, camera angle, shadow, light, blur, noise, JPEG.

`Camera` has
the
ranges; the
catalogue's sellers are careful (`SELLER`), shoppers who search are not (`SHOPPER`).
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from sample_shop.drawing import Colour, Drawing, arc, box, clouds, darker, grid, under

GROUNDS = (
    "planks",
    "sheet",
    "carpet",
    "tiles",
    "table",
    "wall",
    "concrete",
    "checked cloth",
    "cardboard",
    "grass",
)
_GROUND_SIDE = 384
_TONES: dict[str, tuple[Colour, ...]] = {
    "planks": ((150, 106, 66), (196, 160, 116), (92, 66, 48)),
    "sheet": ((226, 222, 214), (190, 200, 212), (206, 186, 180)),
    "carpet": ((146, 138, 128), (120, 84, 80), (88, 100, 112)),
    "tiles": ((202, 198, 188), (126, 132, 134), (178, 150, 124)),
    "table": ((216, 212, 204), (70, 58, 52), (168, 126, 82)),
    "wall": ((214, 208, 196), (176, 190, 186), (196, 178, 164)),
    "concrete": ((150, 150, 148), (112, 112, 114), (178, 174, 166)),
    "checked cloth": ((206, 198, 190), (184, 196, 206), (198, 206, 190)),
    "cardboard": ((184, 146, 104), (164, 126, 86), (196, 164, 126)),
    "grass": ((92, 116, 58), (116, 126, 72), (72, 98, 56)),
}


@dataclass(frozen=True, slots=True)
class Camera:
    """How a photo is taken; pairs are ranges."""

    sides: tuple[tuple[int, int], ...]
    """Width and height of the photo in pixels."""
    fill: tuple[float, float]
    """Side of the object over the shorter side of the photo; more than 1 cuts parts off."""
    turn: float
    """Degrees (a standard deviation) by which the object lies askew."""
    off_centre: float
    """How far off the middle, as a fraction of the side."""
    tilt: float
    """How far the corners of the object's square move, as a fraction of its side: perspective."""
    clutter: tuple[int, int]
    """How many other things lie about."""
    cover: float
    """Chance that something lies on the object."""
    light: tuple[float, float]
    """Exposure, 1 being right."""
    blur: float
    """Largest radius of blur in pixels."""
    noise: float
    """Largest deviation of the sensor's noise in grey levels."""
    quality: tuple[int, int]
    """JPEG quality."""


SELLER = Camera(
    sides=((224, 224), (192, 256), (256, 192), (208, 240)), fill=(0.82, 1.04), turn=11, off_centre=0.05, tilt=0.05,
    clutter=(0, 2), cover=0.0, light=(0.75, 1.15), blur=0.6, noise=6, quality=(72, 90),
)  # fmt: skip
SHOPPER = Camera(
    sides=((224, 224), (192, 256), (256, 192), (180, 240)), fill=(0.76, 1.12), turn=16, off_centre=0.08, tilt=0.08,
    clutter=(1, 3), cover=0.15, light=(0.62, 1.22), blur=1.2, noise=10, quality=(50, 82),
)  # fmt: skip


def photograph(drawing: Drawing, ground: str, camera: Camera, seed: str) -> bytes:
    """A JPEG of the drawing lying on `ground`. The same arguments give the same bytes."""
    rng = random.Random(seed)
    noise = np.random.default_rng(rng.getrandbits(64))
    width, height = rng.choice(camera.sides)
    scene = _ground(ground, rng, width, height)
    for _ in range(rng.randint(*camera.clutter)):
        _clutter(scene, rng)
    _lay(scene, drawing, rng, camera)
    if rng.random() < camera.cover:
        _clutter(scene, rng, near=True)
    radius = rng.uniform(0, camera.blur)
    if radius > 0.4:
        scene = scene.filter(ImageFilter.GaussianBlur(radius))
    out = io.BytesIO()
    _lit(scene, rng, noise, camera).save(out, "JPEG", quality=rng.randint(*camera.quality))
    return out.getvalue()


def _ground(name: str, rng: random.Random, width: int, height: int) -> Image.Image:
    """A piece of a ground, turned and scaled as the camera was held."""
    whole = _whole_ground(name, rng.randrange(len(_TONES[name])), rng.randrange(2))
    angle, scale = math.radians(rng.uniform(-12, 12) + rng.choice((0, 0, 90))), rng.uniform(0.7, 1.1)
    cos, sin = math.cos(angle) * scale, math.sin(angle) * scale
    middle_x = middle_y = _GROUND_SIDE / 2
    span = 30
    middle_x, middle_y = middle_x + rng.uniform(-span, span), middle_y + rng.uniform(-span, span)
    matrix = (
        cos, -sin, middle_x - cos * width / 2 + sin * height / 2,
        sin, cos, middle_y - sin * width / 2 - cos * height / 2,
    )  # fmt: skip
    return whole.transform((width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


@cache
def _whole_ground(name: str, tone: int, variant: int) -> Image.Image:
    side = _GROUND_SIDE
    noise = np.random.default_rng([GROUNDS.index(name), tone, variant])
    x, y = grid(side)
    grain = noise.standard_normal((side, side), np.float32)
    light = 1 + 0.05 * clouds(noise, side, 4)
    match name:
        case "planks":
            planks = np.floor(x * 7)
            shades = noise.uniform(0.86, 1.1, 8)[planks.astype(int)]
            fibre = np.asarray(
                Image.fromarray(noise.standard_normal((10, side)).astype(np.float32)).resize((side, side))
            )
            gaps = 1 - 0.45 * ((x * 7) % 1 < 0.025)
            light *= shades * (1 + 0.06 * fibre + 0.02 * grain) * gaps
        case "sheet":
            folds = clouds(noise, side, 7, stretch=2.5)
            light *= 1 + 0.07 * folds - 0.10 * np.exp(-((folds - 0.4) ** 2) / 0.02) + 0.015 * grain
        case "carpet":
            light *= 1 + 0.12 * grain + 0.08 * clouds(noise, side, 90)
        case "tiles":
            tile_x, tile_y = (x * 4.2) % 1, (y * 4.2) % 1
            joint = (np.minimum(tile_x, tile_y) < 0.03).astype(np.float32)
            light *= 1 - 0.22 * joint + 0.02 * grain + 0.03 * clouds(noise, side, 14)
        case "table":
            light *= 1 + 0.02 * clouds(noise, side, 40, stretch=6) + 0.012 * grain
        case "wall":  # a wall above, a floor below
            floor = y > 0.66 + 0.02 * variant
            skirting = (np.abs(y - 0.655) < 0.014).astype(np.float32)
            light *= np.where(floor, 0.62 + 0.04 * grain, 1 + 0.025 * grain) + 0.15 * skirting
        case "concrete":
            light *= 1 + 0.08 * clouds(noise, side, 25) + 0.05 * grain
        case "checked cloth":
            lines = ((x * 9) % 1 < 0.35).astype(np.float32) + ((y * 9) % 1 < 0.35).astype(np.float32)
            light *= 1.05 - 0.13 * lines + 0.03 * grain
        case "cardboard":
            light *= 1 + 0.025 * np.sin(x * 260) + 0.02 * grain + 0.02 * clouds(noise, side, 10)
        case "grass":
            light *= 1 + 0.16 * clouds(noise, side, 110, stretch=0.4) + 0.12 * grain
    colour = np.array(_TONES[name][tone], np.float32)
    return Image.fromarray((colour * light[..., None]).clip(0, 255).astype(np.uint8))


def _lay(scene: Image.Image, drawing: Drawing, rng: random.Random, camera: Camera) -> None:
    """Put the object on the scene, with its shadow."""
    width, height = scene.size
    side = min(width, height) * rng.uniform(*camera.fill)
    angle = math.radians(max(-2.2 * camera.turn, min(2.2 * camera.turn, rng.gauss(0, camera.turn))))
    middle = (
        width / 2 + rng.uniform(-1, 1) * camera.off_centre * width,
        height / 2 + rng.uniform(-1, 1) * camera.off_centre * height,
    )
    corners = []
    for x, y in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)):
        bent_x, bent_y = x + rng.uniform(-1, 1) * camera.tilt, y + rng.uniform(-1, 1) * camera.tilt
        corners.append(
            (
                middle[0] + side * (bent_x * math.cos(angle) - bent_y * math.sin(angle)),
                middle[1] + side * (bent_x * math.sin(angle) + bent_y * math.cos(angle)),
            )
        )
    mirror = rng.random() < 0.3
    source = [(0, 0), (drawing.side, 0), (drawing.side, drawing.side), (0, drawing.side)]
    if mirror:
        source = [(drawing.side - x, y) for x, y in source]
    matrix = _perspective(corners, source)
    colour, cover = (
        picture.transform(scene.size, Image.Transform.PERSPECTIVE, matrix, Image.Resampling.BILINEAR)
        for picture in (drawing.colour, drawing.cover)
    )
    reach = rng.uniform(2, 6)
    shadow = ImageChops.offset(
        cover, round(rng.uniform(0.3, 1) * reach), round(rng.uniform(0.5, 1.2) * reach)
    )
    shadow = shadow.filter(ImageFilter.BoxBlur(reach)).point([round(v * 0.55) for v in range(256)])
    scene.paste((24, 22, 24), mask=shadow)
    scene.paste((0, 0, 0), mask=cover)
    scene.paste(ImageChops.add(scene, colour))


def _perspective(to: list[tuple[float, float]], source: list[tuple[int, int]]) -> tuple[float, ...]:
    """The eight numbers by which Pillow finds the source point of each target point."""
    rows, values = [], []
    for (x, y), (u, v) in zip(to, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(np.linalg.solve(np.array(rows, float), np.array(values, float)).tolist())


def _clutter(scene: Image.Image, rng: random.Random, near: bool = False) -> None:
    """A thing that happened to lie there: at the edge of the scene, or (`near`) anywhere on it."""
    side = rng.randint(56, 104) if not near else rng.randint(40, 64)
    thing = Drawing(side, rng)
    ink: Colour = (rng.randint(30, 225), rng.randint(30, 225), rng.randint(30, 225))
    match rng.randrange(6):
        case 0:  # pen
            thing.stroke([(0.1, 0.1), (0.8, 0.8)], ink, 0.09, cut=0, volume=0.5)
            thing.stroke([(0.8, 0.8), (0.9, 0.9)], darker(ink, 0.5), 0.05, cut=0)
        case 1:  # book
            thing.part(box(0.1, 0.15, 0.9, 0.85), ink, cut=0, volume=0.3)
            thing.stroke([(0.25, 0.35), (0.75, 0.35)], darker(ink, 1.8), 0.05, cut=0)
            thing.stroke([(0.25, 0.5), (0.6, 0.5)], darker(ink, 1.8), 0.03, cut=0)
        case 2:  # coins
            for _ in range(3):
                at = (rng.uniform(0.25, 0.75), rng.uniform(0.25, 0.75))
                metal: Colour = rng.choice(((196, 152, 88), (180, 180, 178)))
                thing.ellipse(at, (0.15, 0.15), metal, volume=0.6)
        case 3:  # cable
            points = [(rng.uniform(0, 1), i / 7) for i in range(8)]
            thing.stroke(points, rng.choice(((36, 36, 40), (224, 222, 216))), 0.05, cut=3)
        case 4:  # leaf
            leaf = [(0.5, 0.05), (0.75, 0.3), (0.72, 0.65), (0.5, 0.95), (0.28, 0.65), (0.25, 0.3)]
            thing.part(leaf, (70 + rng.randint(-20, 30), 122, 60), cut=2, volume=0.4)
            thing.stroke([(0.5, 0.1), (0.5, 0.9)], (48, 84, 42), 0.03)
        case _:  # price tag
            thing.part([(0.3, 0.1), (0.7, 0.1), (0.85, 0.3), (0.85, 0.9), (0.15, 0.9), (0.15, 0.3)],
                       (236, 232, 220), cut=0, volume=0.2)  # fmt: skip
            thing.ellipse((0.5, 0.24), (0.06, 0.06), (90, 86, 80), volume=0)
            thing.stroke([(0.28, 0.55), (0.72, 0.55)], (60, 58, 56), 0.06, cut=0)
            thing.stroke(arc((0.5, 0.75), (0.18, 0.05), 0, 300, 12), (170, 60, 50), 0.04, cut=0)
    angle = rng.uniform(0, 360)
    colour, cover = (p.rotate(angle, Image.Resampling.BILINEAR) for p in (thing.colour, thing.cover))
    width, height = scene.size
    if near:
        at = (rng.uniform(0.25, 0.75) * width, rng.uniform(0.25, 0.75) * height)
    else:
        edge, along = rng.choice((0.06, 0.94)), rng.random()
        at = (edge * width, along * height) if rng.random() < 0.5 else (along * width, edge * height)
    place = (round(at[0] - side / 2), round(at[1] - side / 2))
    shadow = cover.filter(ImageFilter.BoxBlur(2)).point([v // 3 for v in range(256)])
    scene.paste((20, 20, 22), (place[0] + 2, place[1] + 3), shadow)
    piece = scene.crop((*place, place[0] + side, place[1] + side))
    piece.paste((0, 0, 0), mask=cover)
    scene.paste(ImageChops.add(piece, colour), place)


def _lit(scene: Image.Image, rng: random.Random, noise: np.random.Generator, camera: Camera) -> Image.Image:
    """Exposure, a light that falls off to one side, its warmth, and the sensor's noise."""
    width, height = scene.size
    angle, fall = rng.uniform(0, 2 * math.pi), rng.uniform(0.02, 0.28)
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    light = rng.uniform(*camera.light) * (1 + fall * (math.cos(angle) * x + math.sin(angle) * y))
    light -= rng.uniform(0, 0.12) * (x * x + y * y)
    warmth = rng.uniform(-0.09, 0.11)
    grain = noise.standard_normal((height, width), np.float32) * rng.uniform(1, camera.noise)
    return under(light, np.asarray(scene), (1 + warmth, 1, 1 - warmth), grain)
