"""Clothes, laid flat and seen from above. Each function draws one kind; `form` is the product's own
proportions."""

from __future__ import annotations

import random

from sample_shop.drawing import Drawing, Point, arc, box, darker, mirrored
from sample_shop.looks import Look, mark


def t_shirt(d: Drawing, form: random.Random, look: Look) -> None:
    neck, shoulder, body = form.uniform(0.09, 0.12), form.uniform(0.25, 0.28), form.uniform(0.21, 0.25)
    sleeve, hem, low_neck = form.uniform(0.10, 0.15), form.uniform(0.82, 0.9), form.uniform(0.17, 0.24)
    half = [
        (0.5 + neck, 0.115), (0.5 + shoulder, 0.16), (0.5 + shoulder + sleeve, 0.20 + sleeve),
        (0.5 + shoulder + sleeve - 0.05, 0.27 + sleeve), (0.5 + body + 0.01, 0.335),
        (0.5 + body, 0.6), (0.5 + body + 0.005, hem),
    ]  # fmt: skip
    d.ellipse((0.5, 0.125), (neck, 0.035), look.inside, volume=0)
    d.part([(0.5, low_neck - 0.03), *mirrored(half)[:-1], (0.5 - neck, 0.115)], look.surface, cut=1)
    front = arc((0.5, 0.115), (neck, low_neck - 0.115), 0, 180, 20)
    d.part([*front, *reversed(arc((0.5, 0.115), (neck, 0.03), 0, 180, 12))], look.inside, cut=0, volume=0)
    d.seam(front, look.seam, 0.012, cut=0)
    for side in (-1, 1):
        d.seam([(0.5 + side * shoulder * 0.96, 0.17), (0.5 + side * body, 0.335)], look.seam, 0.005)
    d.seam([(0.5 - body, hem - 0.025), (0.5 + body, hem - 0.025)], look.seam, 0.004)
    if form.random() < 0.5:
        mark(d, (0.5 + form.choice((0, 0.1)), 0.36), form.uniform(0.025, 0.07), look)


def shirt(d: Drawing, form: random.Random, look: Look) -> None:
    shoulder, body, hem = form.uniform(0.2, 0.23), form.uniform(0.18, 0.2), form.uniform(0.84, 0.9)
    cuff = form.uniform(0.68, 0.78)
    for side in (-1, 1):
        sleeve = [(0.5 + side * (shoulder - 0.03), 0.17), (0.5 + side * (shoulder + 0.06), 0.24),
                  (0.5 + side * (shoulder + 0.16), cuff), (0.5 + side * (shoulder + 0.075), cuff + 0.02),
                  (0.5 + side * (body - 0.01), 0.36)]  # fmt: skip
        d.part(sleeve, look.surface, cut=1, volume=0.4)
        end = [
            (0.5 + side * (shoulder + 0.165), cuff - 0.01),
            (0.5 + side * (shoulder + 0.17), cuff + 0.05),
            (0.5 + side * (shoulder + 0.075), cuff + 0.07),
            (0.5 + side * (shoulder + 0.07), cuff + 0.01),
        ]
        d.part(end, look.surface, cut=0, volume=0.3)
        d.seam([end[0], end[3]], look.seam, 0.005)
    half = [(0.5 + 0.07, 0.13), (0.5 + shoulder, 0.175), (0.5 + body, 0.36), (0.5 + body - 0.01, 0.6),
            (0.5 + body + 0.01, hem - 0.05), (0.5 + 0.09, hem)]  # fmt: skip
    d.part(mirrored(half), look.surface, cut=1)
    d.part([(0.44, 0.13), (0.56, 0.13), (0.5, 0.25)], look.inside, cut=0, volume=0)
    for side in (-1, 1):
        leaf = [
            (0.5 + side * 0.035, 0.085),
            (0.5 + side * 0.09, 0.13),
            (0.5 + side * 0.1, 0.22),
            (0.5, 0.245),
        ]
        d.part(leaf, look.surface, cut=0, volume=0.5)
        d.seam([leaf[1], leaf[2], leaf[3]], look.seam, 0.006, cut=0)
    d.seam([(0.475, 0.25), (0.475, hem)], look.seam, 0.004)
    d.seam([(0.525, 0.25), (0.525, hem)], look.seam, 0.004)
    button = form.choice(((235, 232, 222), (60, 50, 45)))
    for i in range(6):
        d.ellipse((0.5, 0.29 + i * (hem - 0.34) / 6), (0.011, 0.011), button, volume=0.5)
    if form.random() < 0.7:
        d.seam([*box(0.55, 0.33, 0.64, 0.43), (0.565, 0.33)], look.seam, 0.005, cut=0)
        mark(d, (0.595, 0.385), 0.018, look)


def hoodie(d: Drawing, form: random.Random, look: Look) -> None:
    shoulder, body, hem = form.uniform(0.25, 0.28), form.uniform(0.23, 0.26), form.uniform(0.82, 0.88)
    for side in (-1, 1):
        sleeve = [(0.5 + side * (shoulder - 0.06), 0.22), (0.5 + side * (shoulder + 0.07), 0.3),
                  (0.5 + side * (shoulder + 0.14), 0.55), (0.5 + side * (shoulder + 0.1), 0.8),
                  (0.5 + side * (shoulder - 0.01), 0.8), (0.5 + side * (body - 0.01), 0.42)]  # fmt: skip
        d.part(sleeve, look.surface, cut=2, volume=0.45)
        rib = [(0.5 + side * (shoulder + 0.105), 0.77), (0.5 + side * (shoulder + 0.09), 0.84),
               (0.5 + side * (shoulder + 0.01), 0.84), (0.5 + side * (shoulder - 0.005), 0.77)]  # fmt: skip
        d.part(rib, look.seam, cut=0)
    half = [
        (0.6, 0.2),
        (0.5 + shoulder, 0.235),
        (0.5 + body, 0.42),
        (0.5 + body, 0.7),
        (0.5 + body - 0.02, hem),
    ]
    d.part(mirrored(half), look.surface, cut=1)
    d.part(box(0.5 - body + 0.02, hem - 0.045, 0.5 + body - 0.02, hem + 0.02), look.seam, cut=1)
    hood = [(0.5, 0.04), (0.6, 0.06), (0.665, 0.16), (0.64, 0.25), (0.56, 0.31), (0.5, 0.33)]
    d.part(mirrored(hood), look.surface, cut=2, volume=0.5)
    opening = [(0.5, 0.085), (0.56, 0.1), (0.595, 0.17), (0.565, 0.24), (0.5, 0.3)]
    d.part(mirrored(opening), look.inside, cut=2, volume=0.2)
    cord = darker(look.second, 1.4)
    length = form.uniform(0.1, 0.18)
    for side in (-1, 1):
        d.stroke(
            [(0.5 + side * 0.035, 0.29), (0.5 + side * 0.05, 0.36), (0.5 + side * 0.04, 0.33 + length)],
            cord,
            0.011,
        )
    pocket = [(0.5, 0.56), (0.6, 0.56), (0.67, 0.68), (0.67, 0.76), (0.5, 0.76)]
    d.part(mirrored(pocket), look.surface, cut=0, volume=0.5)
    d.seam([(0.6, 0.56), (0.67, 0.68)], look.seam, 0.008)
    d.seam([(0.4, 0.56), (0.33, 0.68)], look.seam, 0.008)
    if form.random() < 0.6:
        mark(d, (0.5, 0.48), form.uniform(0.03, 0.05), look)


def _legs(d: Drawing, form: random.Random, look: Look, length: float, wide: float) -> None:
    waist, gap = form.uniform(0.13, 0.16), form.uniform(0.015, 0.05)
    hip, crotch = waist + form.uniform(0.03, 0.05), 0.08 + form.uniform(0.24, 0.28)
    end = gap + wide
    half = [(0.5 + waist, 0.08), (0.5 + hip, 0.3), (0.5 + end + 0.02, length - 0.02), (0.5 + end, length),
            (0.5 + gap, length), (0.5 + gap * 0.7, crotch + 0.1), (0.5, crotch)]  # fmt: skip
    d.part([(0.5, 0.075), *mirrored(half)[:-1], (0.5 - waist, 0.08)], look.surface, cut=1, volume=0.35)
    d.part(box(0.5 - waist - 0.004, 0.062, 0.5 + waist + 0.004, 0.115), look.surface, cut=0, volume=0.5)
    d.seam([(0.5 - waist, 0.117), (0.5 + waist, 0.117)], look.seam, 0.006)
    d.seam([(0.5, 0.117), (0.5, crotch)], look.seam, 0.006)
    d.seam([(0.53, 0.12), (0.53, 0.2), (0.5, 0.235)], look.seam, 0.004)
    d.ellipse((0.5, 0.09), (0.012, 0.012), (190, 160, 90), volume=0.4)
    for side in (-1, 1):
        d.seam([(0.5 + side * waist * 0.55, 0.12), (0.5 + side * waist * 0.7, 0.18), (0.5 + side * hip * 0.93, 0.2)],
                 look.seam, 0.006)  # fmt: skip
        d.seam([(0.5 + side * waist * 0.5, 0.06), (0.5 + side * waist * 0.5, 0.118)], look.seam, 0.014)
        d.seam([(0.5 + side * gap, length - 0.025), (0.5 + side * end, length - 0.025)], look.seam, 0.005)
    if form.random() < 0.5:
        mark(d, (0.5 - waist * 0.62, 0.165), 0.018, look)


def trousers(d: Drawing, form: random.Random, look: Look) -> None:
    _legs(d, form, look, form.uniform(0.9, 0.94), form.uniform(0.11, 0.17))


def shorts(d: Drawing, form: random.Random, look: Look) -> None:
    length = form.uniform(0.5, 0.58)
    wide = Drawing(d.side, d.rng, d.wobble)
    _legs(wide, form, look, length, form.uniform(0.2, 0.25))
    stretch = form.uniform(1.35, 1.5)  # shorts fill the frame in width
    for name in ("colour", "cover"):
        picture = getattr(wide, name)
        size = d.side / stretch
        edge = (d.side - size) / 2
        area = (edge, 0.02 * d.side, d.side - edge, 0.02 * d.side + size)
        setattr(d, name, picture.resize((d.side, d.side), box=area))


def skirt(d: Drawing, form: random.Random, look: Look) -> None:
    waist, hem, length = form.uniform(0.14, 0.18), form.uniform(0.3, 0.4), form.uniform(0.75, 0.85)
    pleats = form.randint(5, 9)
    lower: list[Point] = []
    for i in range(pleats * 2 + 1):
        share = i / (pleats * 2)
        lower.append(
            (0.5 + hem - 2 * hem * share, length + 0.05 * (1 - abs(2 * share - 1)) + (0.018 if i % 2 else 0))
        )
    d.part([(0.5 - waist, 0.18), (0.5 + waist, 0.18), *lower], look.surface, cut=1, volume=0.35)
    for i in range(1, pleats):
        share = i / pleats
        d.seam([(0.5 + waist - 2 * waist * share, 0.21), (0.5 + hem - 2 * hem * share, length + 0.03)],
                 look.seam, 0.007)  # fmt: skip
    d.part(box(0.5 - waist - 0.005, 0.15, 0.5 + waist + 0.005, 0.215), look.seam, cut=0, volume=0.4)
    if form.random() < 0.5:
        d.ellipse((0.5 + waist * 0.7, 0.182), (0.014, 0.014), (225, 220, 205), volume=0.5)


def dress(d: Drawing, form: random.Random, look: Look) -> None:
    bust, waist, hem = form.uniform(0.13, 0.16), form.uniform(0.1, 0.125), form.uniform(0.24, 0.34)
    waist_y, length, straps = form.uniform(0.38, 0.44), form.uniform(0.88, 0.94), form.random() < 0.6
    if straps:
        for side in (-1, 1):
            d.stroke(
                [(0.5 + side * bust * 0.6, 0.2), (0.5 + side * bust * 0.5, 0.055)],
                look.colour,
                0.02,
                volume=0.2,
            )
    half = [(0.5 + bust * 0.35, 0.19), (0.5 + bust * 0.7, 0.155), (0.5 + bust, 0.22), (0.5 + waist, waist_y),
            (0.5 + hem * 0.75, 0.65), (0.5 + hem, length - 0.02), (0.5 + hem * 0.5, length + 0.02)]  # fmt: skip
    if not straps:
        for side in (-1, 1):
            cap = [(0.5 + side * 0.06, 0.075), (0.5 + side * (bust + 0.03), 0.1), (0.5 + side * (bust + 0.09), 0.22),
                   (0.5 + side * (bust + 0.02), 0.26), (0.5 + side * bust * 0.8, 0.2)]  # fmt: skip
            d.part(cap, look.surface, cut=1, volume=0.4)
        half[:2] = [(0.5 + 0.05, 0.12), (0.5 + 0.07, 0.075), (0.5 + bust, 0.11)]
    d.part([(0.5, 0.2 if straps else 0.17), *mirrored(half)], look.surface, cut=1, volume=0.35)
    for i in range(-3, 4):
        d.seam([(0.5 + i * waist * 0.27, waist_y + 0.02), (0.5 + i * hem * 0.27, length - 0.03)],
                 look.seam, 0.005)  # fmt: skip
    belt = darker(look.second, 0.8) if form.random() < 0.5 else look.seam
    d.part(
        box(0.5 - waist - 0.008, waist_y - 0.02, 0.5 + waist + 0.008, waist_y + 0.02), belt, cut=0, volume=0.4
    )
