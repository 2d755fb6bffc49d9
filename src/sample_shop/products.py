"""What the sample shop sells: kinds of things by leaf category, products, their variants and how they are
drawn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from sample_shop import garments, wares
from sample_shop.drawing import Colour, Drawing
from sample_shop.looks import BRANDS, Look
from sample_shop.surfaces import COLOURS, surface

BOARD_SIDE = 224


@dataclass(frozen=True, slots=True)
class Kind:
    """One leaf category: how its things are drawn, and what they can be."""

    category: str
    draw: Callable[[Drawing, random.Random, Look], None]
    price: float
    materials: tuple[str, ...]
    patterns: tuple[str, ...] = ("plain", "plain", "striped", "checked", "dotted")
    sizes: tuple[str, ...] = ()
    soft: float = 0.004
    """How much the thing bends from photo to photo (`Drawing.wobble`)."""


_CLOTHES = ("xs", "s", "m", "l", "xl")
_FEET = ("36", "37", "38", "39", "40", "41", "42", "43", "44")
_WARM = ("plain", "plain", "striped", "checked")
_GLAZE = ("plain", "plain", "striped", "dotted")

KINDS: tuple[Kind, ...] = (
    Kind("clothing/tops/t-shirt", garments.t_shirt, 18, ("cotton",), ("plain", "striped", "dotted", "floral"),
    _CLOTHES, 0.008), Kind("clothing/tops/shirt", garments.shirt, 32, ("cotton", "linen", "denim"), (*_WARM,
    "dotted"), _CLOTHES, 0.008), Kind("clothing/tops/hoodie", garments.hoodie, 45, ("cotton", "wool"),
    ("plain", "plain", "striped"), _CLOTHES, 0.008), Kind("clothing/bottoms/trousers", garments.trousers, 48,
    ("denim", "cotton", "wool"), ("plain", "plain", "checked"), _CLOTHES, 0.008),
    Kind("clothing/bottoms/shorts", garments.shorts, 26, ("denim", "cotton", "linen"), (*_WARM, "floral"),
    _CLOTHES, 0.007), Kind("clothing/bottoms/skirt", garments.skirt, 30, ("cotton", "wool", "denim"), (*_WARM,
    "dotted", "floral"), _CLOTHES, 0.008), Kind("clothing/dresses/dress", garments.dress, 52, ("cotton",
    "linen"), ("plain", "striped", "dotted", "floral"), _CLOTHES, 0.008), Kind("shoes/low/sneaker",
    wares.sneaker, 64, ("canvas", "leather", "suede"), ("plain", "plain", "checked"), _FEET),
    Kind("shoes/high/boot", wares.boot, 95, ("leather", "suede"), ("plain",), _FEET),
    Kind("shoes/open/sandal", wares.sandal, 28, ("leather", "canvas"), ("plain", "plain", "striped"), _FEET),
    Kind("bags/carried/backpack", wares.backpack, 58, ("nylon", "canvas", "leather"), (*_WARM, "dotted")),
    Kind("bags/carried/tote", wares.tote, 24, ("canvas", "leather", "linen"), (*_WARM, "floral", "dotted")),
    Kind("home/kitchen/mug", wares.mug, 12, ("ceramic",), _GLAZE, soft=0.0), Kind("home/kitchen/teapot",
    wares.teapot, 34, ("ceramic",), _GLAZE, soft=0.0), Kind("home/lighting/lamp", wares.lamp, 42, ("linen",
    "paper"), _WARM, soft=0.0), Kind("accessories/wrist/watch", wares.watch, 120, ("leather", "metal",
    "nylon"), ("plain",), soft=0.002), Kind("accessories/head/cap", wares.cap, 20, ("cotton", "wool"),
    ("plain", "plain", "checked")), Kind("accessories/eyes/sunglasses", wares.sunglasses, 38, ("plastic",),
    ("plain", "plain", "checked"), soft=0.001),
)  # fmt: skip

SMALL_KINDS: tuple[tuple[Kind, int], ...] = (
    (Kind("home/decoration/vase", wares.vase, 22, ("ceramic", "glass"), _GLAZE, soft=0.0), 8),
    (Kind("home/decoration/candle", wares.candle, 9, ("wax",), ("plain", "striped"), soft=0.0), 7),
    (Kind("bags/travel/suitcase", wares.suitcase, 110, ("plastic",), ("plain",), soft=0.001), 4),
)
"""Categories with too few photos to learn, and how many: two siblings that make up one together, and a lone
one."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A product in one colour: what all photos of it show."""

    kind: Kind
    product: str
    title: str
    price: float
    colour: str
    second: str
    pattern: str
    material: str
    brand: str
    shades: tuple[Colour, Colour]

    def drawn(self, seed: str) -> Drawing:
        """The variant as it lay for one photo."""
        rng = random.Random(seed)
        drawing = Drawing(BOARD_SIDE, rng, self.kind.soft)
        cut_from = _surface(f"{self.product}/{self.colour}", *self.shades, self.pattern, self.material)
        self.kind.draw(drawing, random.Random(self.product), Look(cut_from, *self.shades, self.brand))
        return drawing

    @property
    def aspects(self) -> dict[str, str]:
        colours = self.colour if self.pattern == "plain" else f"{self.colour}|{self.second}"
        return {"colour": colours, "pattern": self.pattern, "material": self.material, "brand": self.brand}


def products(kind: Kind, count: int, variants: int, seed: int) -> list[list[Variant]]:
    """`count` products of one kind, each in some `variants` colours."""
    return [
        _product(kind, f"{kind.category.rpartition('/')[2]}-{i:03d}", variants, seed) for i in range(count)
    ]


def _product(kind: Kind, name: str, variants: int, seed: int) -> list[Variant]:
    rng = random.Random(f"{seed}/{name}")
    pattern, material, brand = rng.choice(kind.patterns), rng.choice(kind.materials), rng.choice(BRANDS)
    price = round(kind.price * rng.uniform(0.7, 1.4) * (1 + 0.08 * BRANDS.index(brand)), 2)
    made = []
    for colour in rng.sample(sorted(COLOURS), variants):
        others = [other for other in sorted(COLOURS) if _apart(COLOURS[colour], COLOURS[other])]
        second = rng.choice(others)
        shades = (_shade(rng, COLOURS[colour]), _shade(rng, COLOURS[second]))
        title = f"{brand.title()} {kind.category.rpartition('/')[2]}, {colour}" + (
            f" {pattern}" if pattern != "plain" else ""
        )
        made.append(
            Variant(kind, f"{seed}-{name}", title, price, colour, second, pattern, material, brand, shades)
        )
    return made


@lru_cache(maxsize=8)
def _surface(variant: str, colour: Colour, second: Colour, pattern: str, material: str) -> Image.Image:
    """What a variant is made of, for all photos of it that are drawn one after the other."""
    texture = np.random.default_rng(random.Random(variant).getrandbits(64))
    return surface(texture, BOARD_SIDE, colour, second, pattern, material)


def _apart(one: Colour, other: Colour) -> bool:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True)) > 150


def _shade(rng: random.Random, colour: Colour) -> Colour:
    red, green, blue = (max(0, min(255, v + rng.randint(-14, 14))) for v in colour)
    return (red, green, blue)
