"""Re-posted copies of a photo: padded, framed, cropped, brightened, with a badge; never a thing in another colour.

Prints enter (`imaging.prints`), links leave. Every photo is held against *leaders*: photos that are no copy of an
earlier one. So ten thousand copies of a placeholder cost ten thousand comparisons, not fifty million, and memory
stays that of the prints. Candidates are the nearest leaders by the light of 8 x 8 cells, of the whole photo and of what
is within its margins; a quick look at 16 x 16 cells drops most, and `alignment` decides.
"""

from __future__ import annotations

import numpy as np

from lookalike.catalogue.alignment import same_picture
from lookalike.progress import Progress, silent

_BLOCK = 256
_CANDIDATES = 12
"""Leaders that a photo is held against, for each of its two prints. Among the first 16 the right one was there for all
but 3 of 400 copies among 4,900 photos."""
_LEAST_LIKE = 0.45
"""Correlation of a candidate's 8 x 8 cells, at least; a badge over a plain photo leaves 0.48."""
_QUICK = 14.0
"""Grey levels by which the four fifths of 16 x 16 cells that differ least differ on average, at most; crops by 4 %
reach 13, and 19 in 20 candidates that are no copies have more."""
_NOTHING = 4.0
"""Grey levels by which no cell of 16 x 16 differs more: the same photo, saved anew."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)


def find_copies(prints: np.ndarray, progress: Progress = silent) -> np.ndarray:
    """Links of photos that show one picture: int64[m, 2], the first below the second, sorted.

    `prints` is uint8[n, 2, 32, 32, 3]. Photos hang together by their links (`duplicates.components`); not every pair of
    them has one.
    """
    count = len(prints)
    found = [np.zeros((0, 2), np.int64)]
    cells = np.concatenate(
        [_cells(prints[at : at + 4096]) for at in range(0, count, 4096)] or [np.zeros((0, 2, 64))]
    )
    leaders = np.zeros(0, np.int64)
    for at in range(0, count, _BLOCK):
        rows = np.arange(at, min(at + _BLOCK, count))
        linked = _links(prints, cells, rows, leaders)
        found.append(linked)
        rest = rows[~np.isin(rows, linked[:, 1])]
        within = _links(prints, cells, rest, rest)
        found.append(within)
        leaders = np.concatenate([leaders, rest[~np.isin(rest, within[:, 1])]])
        progress("find copies", int(rows[-1]) + 1, count)
    return np.unique(np.concatenate(found), axis=0)


def _links(prints: np.ndarray, cells: np.ndarray, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Those of `rows` that are copies of some of `others`, each with an earlier one of them: int64[m, 2]."""
    found = np.zeros((0, 2), np.int64)
    if not len(rows) or not len(others):
        return found
    for which in (0, 1):
        likeness = cells[rows, which] @ cells[others, which].T
        likeness[others[None, :] >= rows[:, None]] = -1
        most = min(_CANDIDATES, len(others))
        nearest = np.argpartition(-likeness, most - 1, axis=1)[:, :most]
        place = np.repeat(np.arange(len(rows)), most), nearest.reshape(-1)
        good = likeness[place] >= _LEAST_LIKE
        pairs = np.stack([others[place[1][good]], rows[place[0][good]]], axis=1)
        if not len(pairs):
            continue
        one, other = prints[pairs[:, 0], which], prints[pairs[:, 1], which]
        apart = _apart(one, other)
        same = apart[:, -1] <= _NOTHING
        open_ = np.flatnonzero(~same & (apart[:, : 4 * apart.shape[1] // 5].mean(axis=1) <= _QUICK))
        for n in range(0, len(open_), _BLOCK):
            some = open_[n : n + _BLOCK]
            same[some] = same_picture(one[some], other[some])
        found = np.concatenate([found, pairs[same]])
        if which == 0:
            rows = rows[~np.isin(rows, found[:, 1])]
            if not len(rows):
                break
    return found


def _cells(prints: np.ndarray) -> np.ndarray:
    """f32[n, 2, 64]: light of 8 x 8 cells, without its mean, of length 1."""
    size = prints.shape[2] // 8
    light = (
        (prints @ _GREY)
        .reshape(len(prints), 2, 8, size, 8, size)
        .mean(axis=(3, 5))
        .reshape(len(prints), 2, 64)
    )
    light -= light.mean(axis=2, keepdims=True)
    cells: np.ndarray = light / (np.linalg.norm(light, axis=2, keepdims=True) + 1e-3)
    return cells.astype(np.float32)


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """f32[m, 256]: how far 16 x 16 cells differ, brightness set right, in order."""
    a, b = (x.reshape(len(x), 16, 2, 16, 2, 3).mean(axis=(2, 4), dtype=np.float32) for x in (one, other))
    grey_a, grey_b = a @ _GREY, b @ _GREY
    usable = (grey_a > 16) & (grey_a < 225) & (grey_b > 16) & (grey_b < 240)
    ratio = np.where(usable, grey_b / np.maximum(grey_a, 1), np.nan)
    ratio[usable.sum((1, 2)) < 10] = 1
    gain = np.nanmedian(ratio.reshape(len(a), -1), axis=1).clip(0.75, 1.33)[:, None, None, None]
    apart = np.abs(
        np.minimum(255, a * np.maximum(gain, 1)) - np.minimum(255, b * np.maximum(1 / gain, 1))
    ).max(axis=3)
    ordered: np.ndarray = np.sort(apart.reshape(len(a), -1), axis=1)
    return ordered
