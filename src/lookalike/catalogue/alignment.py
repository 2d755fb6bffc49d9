"""Whether two prints show one picture: laid over each other, compared in light and colour, with a badge allowed for.

Two prints enter (`imaging.prints`), what tells them apart leaves. One is moved, stretched and brightened until it fits
the other (Lucas and Kanade 1981, four parameters, robust against what is covered), since a copy may be cropped by a
few per cent. What still differs is judged by where it lies: all over, it is another picture; in a part
of it, where the lines of the two have nothing in common, somebody put a badge there; where they have the same lines, it
is one thing in another colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lookalike.imaging.prints import SIDE

_STEPS = 8
_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_Y, _X = np.mgrid[:SIDE, :SIDE].astype(np.float32) - (SIDE - 1) / 2
_MOST_STRETCH = 0.14
_MOST_SHIFT = 0.08 * SIDE
_EDGE = 2
"""Pixels at the border that are not compared: they may lie outside of the other print."""

_LIGHT, _COLOUR, _STRAY = 8.0, 2.3, 0.015
"""Of one picture without a badge, at most: 782 of 800 copies are found with these (`benchmarks.duplicates`). Of two
things in one pose, or one thing in two colours, 0.03 and more of the pixels differ."""
_FAR_LIGHT, _FAR_COLOUR = 32.0, 20.0
"""As they lie, pairs that differ more are not moved over each other: of 216 that were alike then, none had more, and
a third of all others have."""
_NEAR_LIGHT, _NEAR_COLOUR = 12.0, 8.0
"""Moved one way, pairs that differ more are not tried the other way."""
_BADGED_LIGHT, _BADGED_COLOUR = 2.5, 1.6
_BADGE, _LINES = 0.12, 0.74
"""Of a badge: share of the picture, and correlation of lines, of which 19 in 20 have at most 0.69. Of 11 products that
differ by the colour of a part alone all have at least 0.80."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """What tells m pairs apart, each f32[m]."""

    light: np.ndarray
    """Root mean square of grey levels of light, without the tenth that differs most."""
    colour: np.ndarray
    """The same of colour."""
    covered: np.ndarray
    """Share of pixels that differ clearly, in light or colour."""
    lines: np.ndarray
    """Correlation of the lines where they differ: 1 where both have the same ones, as a thing in two colours has."""

    @property
    def same(self) -> np.ndarray:
        """bool[m]: whether both show one picture."""
        plain = (self.light <= _LIGHT) & (self.colour <= _COLOUR) & (self.covered <= _STRAY)
        badge = (self.covered <= _BADGE) & (self.lines <= _LINES)
        return plain | (badge & (self.light <= _BADGED_LIGHT) & (self.colour <= _BADGED_COLOUR))


def same_picture(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """bool[m]: whether uint8[m, 32, 32, 3] and their like show one picture, as they lie or moved over each other."""
    lying = compare(one, other)
    found = lying.same
    rest = np.flatnonzero(~found & (lying.light <= _FAR_LIGHT) & (lying.colour <= _FAR_COLOUR))
    for a, b in ((one, other), (other, one)):  # a crop fits what it was cut from, hardly the other way round
        if len(rest):
            moved = compare(a[rest], b[rest], fitted=True)
            found[rest] = moved.same
            rest = rest[~moved.same & (moved.light <= _NEAR_LIGHT) & (moved.colour <= _NEAR_COLOUR)]
    return found


def compare(one: np.ndarray, other: np.ndarray, *, fitted: bool = False) -> Likeness:
    """What tells uint8[m, 32, 32, 3] and their like apart; `fitted` moves `other` until it fits."""
    a, b = one.astype(np.float32), other.astype(np.float32)
    inside = np.ones(a.shape[:3], bool)
    if fitted:
        b, inside = _sampled(b, _aligned(a @ _GREY, b @ _GREY))
    return Likeness(*_measured(a, b, inside).T)


def _measured(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """f32[m, 4]: the fields of a `Likeness`, of what is `inside` both: bool[m, 32, 32]."""
    gain = _gain(a @ _GREY, b @ _GREY, inside)
    a = np.minimum(255, a * np.maximum(gain, 1)[:, None, None, None])
    b = np.minimum(255, b * np.maximum(1 / gain, 1)[:, None, None, None])
    inside[:, :_EDGE] = inside[:, -_EDGE:] = False
    inside[:, :, :_EDGE] = inside[:, :, -_EDGE:] = False
    grey_a, grey_b = a @ _GREY, b @ _GREY
    light = np.abs(grey_a - grey_b)
    colour = np.linalg.norm(_blurred(a - grey_a[..., None] - b + grey_b[..., None]), axis=3)
    slopes_a, slopes_b = (np.stack(np.gradient(x, axis=(1, 2))) for x in (a, b))
    steep = np.maximum(np.hypot(*slopes_a), np.hypot(*slopes_b))
    strength = np.maximum(np.maximum(steep[..., 0], steep[..., 1]), steep[..., 2])
    differs = (
        (light > 12 + 0.35 * strength) | (colour > 9)
    ) & inside  # a fraction of a pixel counts at strong lines
    there = _grown(differs) & inside
    product, power_a, power_b = (
        np.einsum("smijc,smijc,mij->m", x, y, there.astype(np.float32))
        for x, y in ((slopes_a, slopes_b), (slopes_a, slopes_a), (slopes_b, slopes_b))
    )
    lines = product / np.sqrt(np.maximum(1e-3, power_a * power_b))
    covered = differs.sum((1, 2)) / np.maximum(1, inside.sum((1, 2)))
    return np.stack([_trimmed(light, inside), _trimmed(colour, inside), covered, lines], axis=1)


def _aligned(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """f32[m, 4]: stretch and shift in x and y that bring `b` over `a` (f32[m, 32, 32])."""
    place = np.zeros((len(a), 4), np.float32)
    a = _blurred(a[..., None])[..., 0]
    b = _blurred(b[..., None])[..., 0]
    for _ in range(_STEPS):
        moved, inside = _sampled(b[..., None], place)
        moved = moved[..., 0]
        gain = _gain(a, moved, inside)
        error = (np.minimum(255, a * gain[:, None, None]) - moved) * inside
        spread = 1.48 * np.median(np.abs(error).reshape(len(a), -1), axis=1)[:, None, None] + 2
        weight = inside / (1 + (error / (2 * spread)) ** 2) ** 2
        down, across = np.gradient(moved, axis=(1, 2))
        slopes = np.stack([across * _X, across, down * _Y, down], axis=-1).reshape(len(a), -1, 4)
        weighted = slopes * weight.reshape(len(a), -1, 1)
        matrix = weighted.transpose(0, 2, 1) @ slopes
        matrix += np.eye(4, dtype=np.float32) * (
            1e-3 * np.trace(matrix, axis1=1, axis2=2)[:, None, None] / 4 + 1
        )
        step = np.linalg.solve(matrix, weighted.transpose(0, 2, 1) @ error.reshape(len(a), -1, 1))[..., 0]
        place = place + step
        place[:, ::2] = place[:, ::2].clip(-_MOST_STRETCH, _MOST_STRETCH)
        place[:, 1::2] = place[:, 1::2].clip(-_MOST_SHIFT, _MOST_SHIFT)
    return place


def _sampled(b: np.ndarray, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`b` (f32[m, 32, 32, c]) at stretched and shifted places, and which of them lie within it."""
    x = _X[0] * (1 + place[:, :1]) + place[:, 1:2] + (SIDE - 1) / 2
    y = _Y[:, 0] * (1 + place[:, 2:3]) + place[:, 3:4] + (SIDE - 1) / 2
    within = ((y > -0.5) & (y < SIDE - 0.5))[:, :, None] & ((x > -0.5) & (x < SIDE - 0.5))[:, None, :]
    rows, columns = _weights(y), _weights(x)
    moved = np.einsum("mij,mjkc->mikc", rows, b, optimize=True)
    moved = np.einsum("mlk,mikc->milc", columns, moved, optimize=True)
    return moved, within


def _weights(at: np.ndarray) -> np.ndarray:
    """f32[m, 32, 32]: by which neighbours of `at` are mixed."""
    distance = np.abs(at.clip(0, SIDE - 1)[:, :, None] - np.arange(SIDE, dtype=np.float32))
    weights: np.ndarray = np.maximum(0, 1 - distance)
    return weights


def _gain(a: np.ndarray, b: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """f32[m]: by how much `b` is brighter than `a`, where neither is white or black."""
    return gain_of(*(x.reshape(len(x), -1) for x in (a, b, inside)), few=30)


def gain_of(a: np.ndarray, b: np.ndarray, inside: np.ndarray | bool, *, few: int) -> np.ndarray:
    """f32[m]: by how much `b` is brighter than `a`, f32[m, n] each; 1 where fewer than `few` can tell."""
    usable = inside & (a > 16) & (a < 225) & (b > 16) & (b < 240)
    ratio = np.sort(np.where(usable, b / np.maximum(a, 1), np.inf), axis=1)
    count = usable.sum(axis=1)
    middle = np.stack([np.maximum(count - 1, 0) // 2, np.minimum(count // 2, a.shape[1] - 1)], axis=1)
    gain = np.take_along_axis(ratio, middle, axis=1).mean(axis=1).clip(0.75, 1.33)
    return np.where(count < few, 1, gain).astype(np.float32)


def _blurred(x: np.ndarray) -> np.ndarray:
    """Means of 3 x 3 pixels."""
    for axis in (1, 2):
        padded = np.concatenate([x.take([0], axis), x, x.take([-1], axis)], axis)
        parts = [padded.take(range(n, n + SIDE), axis) for n in range(3)]
        x = (parts[0] + parts[1] + parts[2]) / 3
    return x


def _grown(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
    wide = padded[:, :, :-2] | padded[:, :, 1:-1] | padded[:, :, 2:]
    grown: np.ndarray = wide[:, :-2] | wide[:, 1:-1] | wide[:, 2:]
    return grown


def _trimmed(error: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Root mean square of the nine tenths that differ least."""
    flat = np.where(inside, error, np.inf).reshape(len(error), -1)
    flat = np.sort(flat, axis=1)
    count = (0.9 * inside.sum((1, 2))).astype(int)
    kept = np.arange(flat.shape[1]) < count[:, None]
    root: np.ndarray = np.sqrt(np.where(kept, flat, 0) ** 2 @ np.ones(flat.shape[1]) / np.maximum(1, count))
    return root
