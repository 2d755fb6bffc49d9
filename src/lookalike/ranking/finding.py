"""Where in a cluttered photo the thing is that somebody looks for, and a second look at it.

Enters: the map of how like the catalogue each cell of the frame is (`learning.regions`). Leaves: up to three boxes, the
likeliest first, and, where the frame is cluttered, the best answer of those to the whole photo and to its boxes.

A box is a window of cells whose values differ most from those around it, by the variance between the two (Otsu, 1979),
which needs no threshold. Boxes that overlap much are one. A frame is cluttered where its map has less in all than that
of nearly every photo of the catalogue: such a photo is searched by its boxes, too, and the answer whose nearest listing
is nearest stands. All others are searched once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import PhotoError
from lookalike.imaging.photos import Box
from lookalike.ranking.framing import framed
from lookalike.ranking.request import MAXIMUM_BOXES, Answer, Query, RankingConfig

_SAME = 0.65
"""Overlap (intersection over union) from which on two boxes are one."""
_NEARLY_ALL = 0.99
"""Share of the frame from which on a window is the whole photo, which is no box."""
_MOST_CELLS = 12
"""Cells on a side at most: a finer map is averaged. Windows grow with the fourth power."""


def boxes_in(regions: NDArray[np.floating], count: int = MAXIMUM_BOXES) -> tuple[Box, ...]:
    """At most `count` boxes in a map f32[s, s], as fractions of the frame, the likeliest first."""
    size = regions.shape[0]
    if not size:
        return ()
    step = -(-size // _MOST_CELLS)
    cells = size // step
    shrunk = regions[: cells * step, : cells * step].reshape(cells, step, cells, step).mean(axis=(1, 3))
    edges, held = _windows(cells)
    top, bottom, left, right = edges
    sums = np.zeros((cells + 1, cells + 1))
    sums[1:, 1:] = shrunk.astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    inside = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
    others = cells * cells - held
    apart = inside / held - (sums[-1, -1] - inside) / others
    between = held * others * np.maximum(apart, 0) ** 2
    found: list[int] = []
    while len(found) < count and (between > 0).any():
        found.append(at := int(between.argmax()))
        between[_alike(cells, at)] = 0
    share = step / size
    return tuple(
        (float(x * share), float(y * share), float((x1 - x) * share), float((y1 - y) * share))
        for y, y1, x, x1 in edges[:, found].T
    )


def is_cluttered(regions: NDArray[np.floating], below: float) -> bool:
    """Whether a frame has less of the catalogue than its photos have; `below` is the release's bound, 0: unknown."""
    return bool(regions.size) and float(regions.mean()) < below


@dataclass(frozen=True, slots=True)
class Part:
    """One box of a cluttered photo, and the search by what is in it."""

    box: Box
    query: Query


def parts_of(query: Query, answer: Answer, config: RankingConfig) -> list[Part]:
    """The boxes in which a cluttered photo is searched again, with the margin that drawn boxes get; decodes each."""
    parts: list[Part] = []
    if query.part is None:
        return parts
    for box in answer.boxes[: config.boxes]:
        try:
            photo = query.part(framed(box, config.box_margin) or box)
        except PhotoError:  # of a file that has just been decoded; the whole photo's answer stands
            continue
        parts.append(Part(box, Query(query.request, photo=photo)))
    return parts


def best_of(answer: Answer, parts: Sequence[Part], found: Sequence[Answer], milliseconds: float) -> Answer:
    """The answer to a whole photo or, if its nearest listing is nearer, to one of its `parts`; `found` are theirs, and
    took so long."""
    best = answer
    for part, each in zip(parts, found, strict=True):
        if _nearest(each) < _nearest(best):
            best = replace(each, box=part.box)
    spent = {**answer.milliseconds, "closer": milliseconds}
    return replace(best, boxes=answer.boxes, cluttered=answer.cluttered, milliseconds=spent)


def _nearest(answer: Answer) -> float:
    return float("inf") if answer.nearest is None else answer.nearest


@cache
def _windows(cells: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64[4, windows]: top, bottom, left, right of every window but the (nearly) whole frame; int64[windows]: cells
    of each."""
    spans = np.array([(a, b) for a in range(cells) for b in range(a + 1, cells + 1)])
    pairs = np.stack(np.meshgrid(np.arange(len(spans)), np.arange(len(spans)), indexing="ij"), axis=-1)
    every = np.ascontiguousarray(spans[pairs.reshape(-1, 2)].reshape(-1, 4).T)
    area = (every[1] - every[0]) * (every[3] - every[2])
    kept = area < _NEARLY_ALL * cells * cells
    return every[:, kept], area[kept]


@lru_cache(1024)
def _alike(cells: int, at: int) -> NDArray[np.bool_]:
    """bool[windows]: those that are one with window `at`, by the area that two share over that of both together."""
    edges, area = _windows(cells)
    top, bottom, left, right = edges
    high = np.minimum(bottom[at], bottom) - np.maximum(top[at], top)
    wide = np.minimum(right[at], right) - np.maximum(left[at], left)
    both = np.maximum(0, high) * np.maximum(0, wide)
    alike: NDArray[np.bool_] = both / (area[at] + area - both) >= _SAME
    return alike
