"""What things are made of: colours, patterns and materials, as flat images that drawings are cut from."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sample_shop.drawing import Colour, clouds, grid, under

COLOURS: dict[str, Colour] = {
    "black": (38, 38, 42),
    "white": (232, 230, 224),
    "grey": (138, 140, 144),
    "navy": (34, 46, 92),
    "blue": (58, 112, 190),
    "teal": (30, 132, 132),
    "green": (62, 122, 66),
    "yellow": (226, 186, 58),
    "orange": (218, 116, 42),
    "red": (184, 42, 46),
    "pink": (224, 140, 168),
    "purple": (112, 72, 144),
    "brown": (112, 74, 48),
    "beige": (204, 182, 148),
}

# Depth of a material's own texture, as a fraction of the brightness.
_TEXTURE = {
    "cotton": 0.03, "denim": 0.10, "wool": 0.10, "linen": 0.07, "leather": 0.05, "canvas": 0.07, "suede":
    0.06, "ceramic": 0.015, "metal": 0.02, "plastic": 0.01, "nylon": 0.03, "paper": 0.03, "glass": 0.01,
    "wax": 0.02,
}  # fmt: skip


def surface(
    rng: np.random.Generator, side: int, colour: Colour, second: Colour, pattern: str, material: str
) -> Image.Image:
    """An RGB image of side x side pixels: `colour` patterned with `second`, with the material's texture."""
    share = _share(rng, side, pattern)
    rest = 1 - share
    flat = [np.float32(a) * rest + np.float32(b) * share for a, b in zip(colour, second, strict=True)]
    light = 1 + _TEXTURE[material] * _texture(rng, side, material)
    if material in {"cotton", "denim", "wool", "linen"}:  # cloth lies in folds
        light += 0.055 * clouds(rng, side, 5, stretch=0.6)
    return under(light, np.stack(flat).transpose(1, 2, 0))


def _share(rng: np.random.Generator, side: int, pattern: str) -> np.ndarray:
    """How much of the second colour shows, float32[side, side] in 0..1."""
    x, y = grid(side)
    count = rng.uniform(7, 13)
    match pattern:
        case "striped":
            across = y if rng.random() < 0.7 else x
            return _step(np.sin(across * count * 2 * np.pi), rng.uniform(-0.3, 0.5))
        case "checked":
            lines = [_step(np.sin(axis * count * 2 * np.pi), 0.1) for axis in (x, y)]
            return 0.5 * lines[0] + 0.5 * lines[1]
        case "dotted":
            shifted = x + np.where(np.floor(y * count) % 2 > 0, 0.5 / count, 0).astype(np.float32)
            far = np.hypot((shifted * count) % 1 - 0.5, (y * count) % 1 - 0.5)
            return _step(rng.uniform(0.22, 0.32) - far, 0.0, sharp=18)
        case "floral":
            share = np.zeros((side, side), np.float32)
            for _ in range(26):
                at_x, at_y, size = rng.random(), rng.random(), rng.uniform(0.028, 0.05)
                petals, turn = rng.integers(4, 7), rng.uniform(0, 6)
                low_x, low_y = int(max(0, at_x - 2 * size) * side), int(max(0, at_y - 2 * size) * side)
                span = np.s_[low_y : int((at_y + 2 * size) * side), low_x : int((at_x + 2 * size) * side)]
                dx, dy = x[span] - at_x, y[span] - at_y
                edge = size * (1 + 0.45 * np.cos(petals * np.arctan2(dy, dx) + turn))
                share[span] = np.maximum(share[span], _step(edge - np.hypot(dx, dy), 0, sharp=200))
            return share
        case _:
            return np.zeros((side, side), np.float32)


def _step(value: np.ndarray, at: float, sharp: float = 8) -> np.ndarray:
    share: np.ndarray = ((value - at) * sharp + 0.5).clip(0, 1)
    return share


def _texture(rng: np.random.Generator, side: int, material: str) -> np.ndarray:
    """The material's own light and dark, float32[side, side] about 0 with deviation near 1."""
    x, y = grid(side)
    turn = 2 * np.pi * side / 4  # one thread is four pixels wide
    grain: np.ndarray = rng.standard_normal((side, side), np.float32)
    match material:
        case "denim":
            grain += np.sin((x + y) * turn * 0.9)
        case "wool":
            rows = np.abs(((x * side / 7) % 1) - 0.5)
            grain = 1.6 * np.sin((y + rows * 5 / side) * turn * 0.55) + 1.2 * (0.25 - rows)
        case "linen" | "canvas":
            grain = np.sin(x * turn) * np.sin(y * turn) + 0.6 * grain
        case "leather" | "suede":
            grain = 0.8 * clouds(rng, side, 60) + 0.8 * clouds(rng, side, 12)
    return grain
