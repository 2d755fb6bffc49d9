"""Shoes, bags, things of the house and accessories, each as one usually photographs it."""

from __future__ import annotations

import random

from sample_shop.drawing import Colour, Drawing, Point, arc, box, darker, mirrored, moved
from sample_shop.looks import Look, mark

_STEEL: Colour = (176, 178, 182)


def _pair(d: Drawing, form: random.Random, scale: float) -> list[tuple[float, float, float]]:
    """Where the shoes stand: the far one first."""
    both = [(-0.07, -0.13, scale), (0.05, 0.12, scale)]
    return both if form.random() < 0.6 else [(0.0, 0.0, scale * 1.12)]


def sneaker(d: Drawing, form: random.Random, look: Look) -> None:
    collar, toe = form.uniform(0.3, 0.36), form.uniform(0.5, 0.55)
    sole: Colour = form.choice(((236, 234, 228), (222, 210, 184), (50, 50, 54)))
    laces = form.choice(((242, 242, 238), (40, 40, 44)))
    stripes, cap = form.random() < 0.5, form.random() < 0.5
    for dx, dy, scale in _pair(d, form, 0.82):

        def at(points: list[Point], dx: float = dx, dy: float = dy, scale: float = scale) -> list[Point]:
            return moved(points, dx, dy, scale)

        inside = [(0.1, collar + 0.01), (0.24, collar + 0.05), (0.38, collar - 0.02), (0.3, collar - 0.03)]
        d.part(at(inside), look.inside, cut=1, volume=0)
        upper = [(0.09, collar), (0.16, collar + 0.06), (0.3, collar + 0.05), (0.41, collar - 0.03), (0.62, toe - 0.05),
                 (0.85, toe), (0.93, toe + 0.1), (0.92, 0.68), (0.08, 0.68), (0.07, 0.5)]  # fmt: skip
        d.part(at(upper), look.surface, cut=2, volume=0.4)
        if cap:
            d.part(at([(0.78, toe), (0.9, toe + 0.06), (0.93, 0.67), (0.74, 0.67)]), sole, cut=1, volume=0.35)
        d.part(
            at([(0.05, 0.64), (0.5, 0.665), (0.95, 0.63), (0.95, 0.71), (0.9, 0.74), (0.08, 0.74)]),
            sole,
            cut=1,
        )
        d.stroke(at([(0.06, 0.705), (0.94, 0.705)]), darker(sole, 0.75), 0.006)
        for i in range(4):
            x, y = 0.43 + i * 0.062, collar + 0.005 + i * 0.042
            d.stroke(at([(x, y), (x - 0.035, y + 0.075)]), laces, 0.017 * scale)
        if stripes:
            for i in range(3):
                d.stroke(at([(0.35 + i * 0.06, 0.63), (0.42 + i * 0.06, 0.49)]), look.second, 0.022)
        else:
            mark(d, at([(0.3, 0.55)])[0], 0.045 * scale, look)


def boot(d: Drawing, form: random.Random, look: Look) -> None:
    shaft, top, heel = form.uniform(0.2, 0.25), form.uniform(0.08, 0.16), form.uniform(0.03, 0.09)
    sole: Colour = form.choice(((48, 38, 34), (30, 30, 32), (150, 110, 70)))
    laced = form.random() < 0.5
    for dx, dy, scale in _pair(d, form, 0.84):

        def at(
            points: list[Point], dx: float = dx * 1.8, dy: float = dy * 0.35, scale: float = scale
        ) -> list[Point]:
            return moved(points, dx, dy, scale)

        left = 0.24
        d.part(
            at([(left, top), (left + shaft, top + 0.01), (left + shaft, top + 0.06), (left, top + 0.06)]),
            look.inside,
        )
        leg = [(left - 0.01, top + 0.02), (left + shaft / 2, top + 0.05), (left + shaft + 0.01, top + 0.02),
               (left + shaft - 0.01, 0.45), (left + shaft + 0.08, 0.6), (0.72, 0.68), (0.78, 0.8), (0.77,
               0.87), (left - 0.02, 0.87), (left - 0.02, 0.7), (left + 0.015, 0.5)]  # fmt: skip
        d.part(at(leg), look.surface, cut=2, volume=0.45)
        d.part(at([(left - 0.03, 0.85), (0.79, 0.85), (0.78, 0.9), (left + 0.2, 0.9), (left + 0.17, 0.9 + heel),
                   (left - 0.02, 0.9 + heel)]), sole, cut=0)  # fmt: skip
        if laced:
            for i in range(6):
                y = 0.28 + i * 0.058
                d.stroke(at([(left + shaft - 0.09 + i * 0.012, y + 0.02), (left + shaft + i * 0.014, y)]),
                         darker(look.second, 1.3), 0.013)  # fmt: skip
        else:
            d.seam(at([(left + 0.11, top + 0.06), (left + 0.12, 0.84)]), look.seam, 0.009)
            d.seam(at([(left - 0.01, 0.62), (left + shaft + 0.08, 0.6)]), look.seam, 0.02)
            d.ellipse(at([(left + shaft - 0.03, 0.605)])[0], (0.018, 0.018), (200, 180, 120), volume=0.4)
        d.gleam(at([(left + shaft * 0.7, 0.2), (left + shaft * 0.65, 0.5), (0.6, 0.7)]), 0.02, 0.35)


def sandal(d: Drawing, form: random.Random, look: Look) -> None:
    bed: Colour = form.choice(((196, 164, 120), (84, 66, 54), (60, 60, 62)))
    thong, wide = form.random() < 0.5, form.uniform(0.95, 1.15)
    for side in (-1, 1):

        def at(points: list[Point], side: int = side) -> list[Point]:
            return [(0.5 + side * (0.2 + (x - 0.5) * wide), y) for x, y in points]

        foot = [(0.42, 0.08), (0.55, 0.07), (0.63, 0.16), (0.64, 0.32), (0.6, 0.5), (0.61, 0.75), (0.58, 0.9),
                (0.48, 0.93), (0.41, 0.86), (0.41, 0.62), (0.37, 0.42), (0.36, 0.2)]  # fmt: skip
        d.part(at(foot), darker(bed, 0.55), cut=2, volume=0.3)
        d.part(
            at([(0.5 + (x - 0.5) * 0.86, 0.5 + (y - 0.5) * 0.94) for x, y in foot]), bed, cut=2, volume=0.15
        )
        if thong:
            for end in ((0.35, 0.46), (0.64, 0.44)):
                d.part(at([(0.46, 0.18), (0.5, 0.17), (end[0] + 0.025, end[1] + 0.05), (end[0] - 0.025, end[1])]),
                       look.surface, cut=1, volume=0.4)  # fmt: skip
        else:
            for y in (0.22, 0.4):
                d.part(at([(0.34, y + 0.03), (0.5, y - 0.02), (0.66, y + 0.02), (0.65, y + 0.11), (0.5, y + 0.07),
                           (0.35, y + 0.12)]), look.surface, cut=1, volume=0.5)  # fmt: skip
            d.part(at([(0.39, 0.74), (0.5, 0.7), (0.62, 0.73), (0.62, 0.78), (0.5, 0.76), (0.39, 0.79)]),
                   look.surface, cut=1, volume=0.5)  # fmt: skip
        mark(d, at([(0.51, 0.84)])[0], 0.026, look)


def backpack(d: Drawing, form: random.Random, look: Look) -> None:
    wide, top, bottom = form.uniform(0.24, 0.29), form.uniform(0.13, 0.18), form.uniform(0.86, 0.92)
    d.stroke(
        arc((0.5, top + 0.02), (0.07, 0.085), 180, 360, 20), darker(look.second, 0.8), 0.03, cut=0, volume=0.3
    )
    for side in (-1, 1):
        strap = [(0.5 + side * wide * 0.75, top + 0.1), (0.5 + side * (wide + 0.07), 0.4),
                 (0.5 + side * (wide + 0.06), 0.7), (0.5 + side * wide * 0.8, bottom - 0.05)]  # fmt: skip
        d.stroke(strap, darker(look.second, 0.7), 0.045, volume=0.3)
    half = [(0.5, top), (0.5 + wide * 0.75, top + 0.01), (0.5 + wide, top + 0.17), (0.5 + wide * 1.04, bottom - 0.1),
            (0.5 + wide * 0.9, bottom), (0.5, bottom)]  # fmt: skip
    d.part(mirrored(half), look.surface, cut=2, volume=0.5)
    d.seam(arc((0.5, 0.47), (wide * 0.86, 0.47 - top - 0.05), 180, 360, 24), look.seam, 0.012, cut=0)
    pocket = box(0.5 - wide * 0.74, 0.54, 0.5 + wide * 0.74, bottom - 0.05)
    d.part(pocket, look.surface if form.random() < 0.5 else look.second, cut=2, volume=0.55)
    d.seam([(0.5 - wide * 0.6, 0.6), (0.5 + wide * 0.6, 0.6)], look.seam, 0.012)
    d.stroke([(0.5 + wide * 0.5, 0.6), (0.5 + wide * 0.5, 0.66)], _STEEL, 0.012)
    mark(d, (0.5, 0.42), form.uniform(0.035, 0.05), look)


def tote(d: Drawing, form: random.Random, look: Look) -> None:
    upper, lower, top = form.uniform(0.27, 0.33), form.uniform(0.24, 0.32), form.uniform(0.38, 0.44)
    handle = darker(look.second, 0.9) if form.random() < 0.5 else look.seam
    rise, spread = form.uniform(0.22, 0.3), form.uniform(0.12, 0.16)
    d.stroke(
        arc((0.5, top + 0.02), (spread * 0.92, rise * 0.9), 180, 360, 24), darker(handle, 0.7), 0.026, cut=0
    )
    d.part([(0.5 - upper, top), (0.5 + upper, top), (0.5 + upper - 0.02, top + 0.04), (0.5 - upper + 0.02, top + 0.04)],
           look.inside, cut=0, volume=0)  # fmt: skip
    half = [(0.5 + upper * 0.6, top + 0.02), (0.5 + upper, top + 0.01), (0.5 + lower + 0.01, 0.7),
            (0.5 + lower, 0.91), (0.5 + lower * 0.5, 0.915)]  # fmt: skip
    d.part(mirrored(half), look.surface, cut=1, volume=0.35)
    d.seam([(0.5 - upper + 0.015, top + 0.055), (0.5 + upper - 0.015, top + 0.055)], look.seam, 0.006)
    d.stroke([(0.5 - spread, top + 0.12), *arc((0.5, top + 0.03), (spread, rise), 180, 360, 24),
              (0.5 + spread, top + 0.12)], handle, 0.03, cut=0, volume=0.3)  # fmt: skip
    if form.random() < 0.7:
        mark(d, (0.5, 0.68), form.uniform(0.06, 0.11), look)


def mug(d: Drawing, form: random.Random, look: Look) -> None:
    wide, top, bottom = form.uniform(0.22, 0.27), form.uniform(0.2, 0.28), form.uniform(0.78, 0.84)
    taper, lip, left = form.uniform(0.82, 1.0), form.uniform(0.05, 0.075), 0.44
    middle = (top + bottom) / 2
    ring = arc(
        (left + wide * 0.95, middle), (form.uniform(0.13, 0.17), form.uniform(0.14, 0.19)), -100, 100, 30
    )
    d.stroke(ring, darker(look.colour, 0.9), 0.055, cut=0, volume=0.35)
    body = [
        (left - wide, top),
        (left - wide * (0.5 + taper / 2), middle),
        *arc((left, bottom), (wide * taper, lip * 0.9), 180, 0, 24),
        (left + wide * (0.5 + taper / 2), middle),
        (left + wide, top),
    ]
    d.part(body, look.surface, cut=0, volume=0.55)
    if form.random() < 0.6:
        mark(d, (left, middle + 0.02), form.uniform(0.05, 0.08), look)
    d.gleam([(left - wide * 0.62, top + 0.12), (left - wide * 0.58, bottom - 0.1)], 0.05, 0.55)
    d.ellipse((left, top), (wide, lip), darker(look.colour, 1.25), volume=0)
    d.ellipse((left, top + 0.008), (wide * 0.9, lip * 0.8), look.inside, volume=0.3)
    if form.random() < 0.4:
        d.ellipse((left, top + 0.025), (wide * 0.8, lip * 0.5), (70, 42, 26), volume=0.2)


def teapot(d: Drawing, form: random.Random, look: Look) -> None:
    wide, high, middle = form.uniform(0.24, 0.28), form.uniform(0.2, 0.25), 0.58
    d.stroke(
        arc((0.5 + wide * 0.95, middle - 0.02), (0.14, high * 0.72), -115, 95, 26),
        darker(look.colour, 0.85),
        0.042,
        cut=0,
        volume=0.35,
    )
    spout = [(0.5 - wide * 0.7, middle + 0.1), (0.5 - wide - 0.06, middle + 0.01), (0.5 - wide - 0.13, middle - 0.19),
             (0.5 - wide - 0.19, middle - 0.2), (0.5 - wide - 0.14, middle + 0.04), (0.5 - wide * 0.6, middle
             + 0.19)]  # fmt: skip
    d.part(spout, look.surface, cut=2, volume=0.4)
    d.ellipse((0.5, middle + high * 0.93), (wide * 0.55, 0.035), darker(look.colour, 0.7))
    d.ellipse((0.5, middle), (wide, high), look.surface, volume=0.6)
    d.ellipse((0.5, middle - high * 0.9), (wide * 0.5, 0.05), look.seam, volume=0.4)
    d.ellipse((0.5, middle - high * 0.96), (wide * 0.46, 0.055), look.surface, volume=0.4)
    d.ellipse((0.5, middle - high - 0.07), (0.034, 0.034), darker(look.second, 0.9), volume=0.6)
    if form.random() < 0.4:
        mark(d, (0.5, middle + 0.02), 0.06, look)
    d.gleam([(0.5 - wide * 0.5, middle - high * 0.5), (0.5 - wide * 0.55, middle + 0.02)], 0.06, 0.6)


def lamp(d: Drawing, form: random.Random, look: Look) -> None:
    upper, lower = form.uniform(0.1, 0.18), form.uniform(0.24, 0.32)
    foot, top, edge = form.uniform(0.13, 0.19), form.uniform(0.06, 0.1), form.uniform(0.4, 0.46)
    stem = look.second if form.random() < 0.5 else form.choice((_STEEL, (176, 138, 70), (92, 62, 42)))
    if form.random() < 0.5:
        d.part(mirrored([(0.53, edge), (0.525, 0.88)]), stem, cut=0, volume=0.5)
    else:
        half = [(0.52, edge), (0.53, 0.5), (0.6, 0.6), (0.61, 0.7), (0.55, 0.8), (0.56, 0.88)]
        d.part(mirrored(half), stem, cut=2, volume=0.6)
    d.ellipse((0.5, 0.895), (foot, 0.045), darker(stem, 0.8), volume=0.5)
    d.ellipse((0.5, 0.88), (foot, 0.04), stem, volume=0.5)
    shade = [
        (0.5 - upper, top),
        (0.5 + upper, top),
        (0.5 + lower, edge),
        *arc((0.5, edge), (lower, 0.035), 0, 180, 16),
    ]
    d.part(shade, look.surface, cut=0, volume=0.35)
    d.stroke(arc((0.5, edge), (lower, 0.035), 0, 180, 16), darker(look.colour, 0.75), 0.01, cut=0)
    if form.random() < 0.5:  # switched on
        d.gleam([(0.5, top + 0.1), (0.5, edge - 0.06)], 0.2, 0.75)


def watch(d: Drawing, form: random.Random, look: Look) -> None:
    radius, wide, metal = form.uniform(0.17, 0.21), form.uniform(0.085, 0.11), form.random() < 0.4
    case: Colour = form.choice((_STEEL, (196, 160, 84), (60, 60, 64)))
    face: Colour = form.choice(((240, 238, 232), (30, 32, 40), darker(look.colour, 0.8)))
    half = [(0.5 + wide * 0.75, 0.03), (0.5 + wide, 0.35), (0.5 + wide, 0.65), (0.5 + wide * 0.7, 0.97)]
    d.part(mirrored(half), look.surface, cut=1, volume=0.5)
    if metal:
        for i in range(16):
            y = 0.05 + i * 0.06
            d.seam([(0.5 - wide, y), (0.5 + wide, y)], look.inside, 0.008)
    else:
        for i in range(4):
            d.ellipse((0.5, 0.74 + i * 0.05), (0.009, 0.012), look.inside, volume=0)
        d.seam([(0.5 - wide * 0.85, 0.06), (0.5 - wide * 0.85, 0.94)], look.seam, 0.005)
        d.seam([(0.5 + wide * 0.85, 0.06), (0.5 + wide * 0.85, 0.94)], look.seam, 0.005)
    d.part(box(0.5 + radius - 0.01, 0.475, 0.5 + radius + 0.035, 0.525), case, cut=0)
    square = form.random() < 0.3
    for size, colour in ((radius, case), (radius * 0.84, face)):
        if square:
            d.part(
                box(0.5 - size * 0.95, 0.5 - size * 1.05, 0.5 + size * 0.95, 0.5 + size * 1.05),
                colour,
                volume=0.4,
            )
        else:
            d.ellipse((0.5, 0.5), (size, size), colour, volume=0.4)
    ink: Colour = (30, 30, 34) if sum(face) > 380 else (235, 235, 230)
    for i, (tick, _) in enumerate(
        zip(*(arc((0.5, 0.5), (radius * 0.74,) * 2, 0, 330, 12),) * 2, strict=True)
    ):
        inner = arc((0.5, 0.5), (radius * (0.56 if i % 3 == 0 else 0.66),) * 2, i * 30, i * 30, 1)[0]
        d.stroke([inner, tick], ink, 0.014 if i % 3 == 0 else 0.007, cut=0)
    for angle, reach, pen in ((d.rng.uniform(0, 360), 0.4, 0.018), (d.rng.uniform(0, 360), 0.6, 0.012)):
        d.stroke([(0.5, 0.5), arc((0.5, 0.5), (radius * reach,) * 2, angle, angle, 1)[0]], ink, pen, cut=0)
    mark(d, (0.5, 0.5 - radius * 0.35), 0.016, Look(look.surface, face, look.second, look.brand))
    d.gleam([(0.5 - radius * 0.6, 0.42), (0.5 - radius * 0.1, 0.5 - radius * 0.7)], 0.03, 0.4)


def cap(d: Drawing, form: random.Random, look: Look) -> None:
    high, brim = form.uniform(0.34, 0.4), form.uniform(0.26, 0.34)
    front = look.second if form.random() < 0.4 else look.colour
    dome = [(0.1, 0.62), (0.1, 0.45), (0.16, 0.62 - high * 0.8), (0.32, 0.62 - high), (0.46, 0.62 - high * 0.97),
            (0.58, 0.62 - high * 0.7), (0.65, 0.45), (0.66, 0.6), (0.4, 0.66)]  # fmt: skip
    visor = [(0.38, 0.58), (0.66, 0.54), (0.66 + brim, 0.64), (0.68 + brim, 0.7), (0.6 + brim * 0.5, 0.7),
             (0.56, 0.68), (0.36, 0.68)]  # fmt: skip
    d.part([(x, y + 0.02) for x, y in visor], darker(front, 0.5), cut=2, volume=0.1)
    d.part(dome, look.surface, cut=2, volume=0.55)
    d.part(visor, front, cut=2, volume=0.5)
    d.seam([(0.36, 0.63), (0.5, 0.6), (0.66, 0.555)], look.seam, 0.008)
    top = (0.36, 0.62 - high * 0.97)
    d.seam([top, (0.24, 0.45), (0.22, 0.63)], look.seam, 0.007)
    d.seam([top, (0.42, 0.42), (0.42, 0.62)], look.seam, 0.007)
    d.ellipse(top, (0.025, 0.014), front, volume=0.5)
    mark(d, (0.53, 0.45), form.uniform(0.045, 0.06), look)


def sunglasses(d: Drawing, form: random.Random, look: Look) -> None:
    wide, high, gap = form.uniform(0.155, 0.185), form.uniform(0.11, 0.16), form.uniform(0.045, 0.06)
    glass: Colour = form.choice(((52, 50, 56), (84, 62, 44), (50, 74, 92), (62, 84, 66)))
    square = form.random() < 0.5
    for side in (-1, 1):
        d.stroke(
            [
                (0.5 + side * (gap + 2 * wide), 0.46),
                (0.5 + side * (gap + 2 * wide + 0.03), 0.36),
                (0.5 + side * (gap + 2 * wide - 0.06), 0.2),
            ],
            darker(look.colour, 0.8),
            0.022,
            volume=0.2,
        )
    d.stroke(arc((0.5, 0.5), (gap + 0.03, 0.05), 200, 340, 12), look.colour, 0.028, cut=0, volume=0.3)
    for side in (-1, 1):
        x = 0.5 + side * (gap + wide)
        for grow, fill in ((0.024, look.surface), (0.0, glass)):
            if square:
                lens = [(x - side * (wide + grow), 0.5 - high - grow), (x + side * (wide + grow), 0.49 - high - grow),
                        (x + side * (wide * 0.8 + grow), 0.5 + high + grow), (x - side * (wide * 0.7 + grow),
                        0.5 + high + grow)]  # fmt: skip
                d.part(lens, fill, cut=2, volume=0.25)
            else:
                d.ellipse((x, 0.5), (wide + grow, high + grow * 1.1), fill, volume=0.25)
        d.gleam([(x - wide * 0.5, 0.5 - high * 0.1), (x - wide * 0.05, 0.5 - high * 0.6)], 0.035, 0.5)
    mark(d, (0.5 + gap + 2 * wide - 0.03, 0.5 - high * 0.75), 0.014, look)


def vase(d: Drawing, form: random.Random, look: Look) -> None:
    neck, belly, low = form.uniform(0.05, 0.09), form.uniform(0.17, 0.23), form.uniform(0.5, 0.68)
    half = [
        (0.5 + neck * 1.3, 0.1),
        (0.5 + neck, 0.2),
        (0.5 + neck, 0.3),
        (0.5 + belly, low),
        (0.5 + belly * 0.6, 0.9),
    ]
    d.part(mirrored(half), look.surface, cut=2, volume=0.6)
    d.ellipse((0.5, 0.115), (neck * 1.15, 0.022), look.inside, volume=0)
    d.gleam([(0.5 - belly * 0.5, low - 0.1), (0.5 - belly * 0.5, low + 0.1)], 0.05, 0.5)


def candle(d: Drawing, form: random.Random, look: Look) -> None:
    wide, top = form.uniform(0.1, 0.16), form.uniform(0.22, 0.4)
    d.part(
        [(0.5 - wide, top), *arc((0.5, 0.88), (wide, 0.035), 180, 0, 16), (0.5 + wide, top)],
        look.surface,
        cut=0,
        volume=0.5,
    )
    d.ellipse((0.5, top), (wide, 0.035), darker(look.colour, 1.3), volume=0.2)
    d.stroke([(0.5, top), (0.505, top - 0.06)], (40, 36, 34), 0.012)
    d.part(
        mirrored([(0.5, top - 0.17), (0.53, top - 0.1), (0.52, top - 0.05), (0.5, top - 0.04)]),
        (250, 200, 90),
        volume=0,
    )


def suitcase(d: Drawing, form: random.Random, look: Look) -> None:
    wide, top = form.uniform(0.23, 0.28), form.uniform(0.24, 0.3)
    d.stroke([(0.42, top), (0.42, 0.07), (0.58, 0.07), (0.58, top)], _STEEL, 0.022, cut=0)
    d.part(box(0.5 - wide, top, 0.5 + wide, 0.9), look.surface, cut=2, volume=0.5)
    for i in range(-2, 3):
        d.seam([(0.5 + i * wide * 0.33, top + 0.06), (0.5 + i * wide * 0.33, 0.85)], look.seam, 0.014)
    for side in (-1, 1):
        d.ellipse((0.5 + side * wide * 0.75, 0.92), (0.035, 0.035), (40, 40, 42), volume=0.4)
    mark(d, (0.5, top + 0.1), 0.03, look)
