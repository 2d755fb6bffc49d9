"""Re-posted copies of a photo: padded, framed, cropped, brightened, with a badge; never a thing in another colour.

Photos and their prints enter (`prints`), groups that show one picture leave. Sketches bring together what may be copies
(`sketches`); of those that were not judged before (`verdicts`) prints are read, a quick look at 16 x 16 cells drops
most, and `alignment` decides. Groups follow from the photos alone: not from the order in which they came, nor from what
is known already. Ten thousand copies of a placeholder cost some comparisons each, not fifty million: in a stretch every
photo is held against the first one, and what hangs together already is not compared.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.alignment import gain_of, same_picture
from lookalike.catalogue.duplicates import components
from lookalike.catalogue.sketches import VIEWS, Order
from lookalike.catalogue.verdicts import Verdicts
from lookalike.progress import Progress, silent

_BLOCK = 256
_TOGETHER, _CELLS = 256, 1 << 24
"""Stretches that are looked through at a time, at most, and pairs that these may have, some 16 MB."""
_DIGITS = 1 << 16
"""Ids that are text at a time."""
_READ = 1024
"""Pairs whose prints are in memory at a time: 24 MB."""
_QUICK = 14.0
"""Grey levels by which the four fifths of 16 x 16 cells that differ least differ on average, at most; crops by 4 %
reach 13, and 19 in 20 candidates that are no copies have more."""
_NOTHING = 6.0
"""Grey levels by which no cell of 16 x 16 differs more: the same photo, saved anew."""
_GREY = np.array([0.299, 0.587, 0.114], np.float32)

Read = Callable[[NDArray[np.int64]], NDArray[np.uint8]]
"""Rows -> their prints, uint8[n, 2, 32, 32, 3]."""


def heads(photo_ids: pa.StringArray) -> NDArray[np.uint64]:
    """The first 64 bits of photo ids, which are 32 hexadecimal digits each."""
    parts = [np.zeros(0, np.uint64)]
    for at in range(0, len(photo_ids), _DIGITS):
        digits = "".join(photo_ids[at : at + _DIGITS].to_pylist())
        parts.append(np.frombuffer(bytes.fromhex(digits), ">u8")[::2].astype(np.uint64))
    return np.concatenate(parts)


def find_copies(
    ids: NDArray[np.uint64],
    sketches: NDArray[np.uint8],
    read: Read,
    verdicts: Verdicts,
    progress: Progress = silent,
) -> NDArray[np.int64]:
    """For each photo the first one that shows the same picture, directly or by way of others: int64[n].

    `ids` are the heads of the photos' ids, in order, `sketches` uint8[n, 2, 8, 8]. What is found out is added to
    `verdicts` and kept.
    """
    if not len(ids):
        return np.zeros(0, np.int64)
    links = [np.zeros((0, 2), np.int64)]
    for view in range(VIEWS):
        order = Order.of(view, sketches, ids)
        _look_through(order, ids, sketches, read, verdicts)
        links.append(order.among(verdicts.copies, sketches))
        progress("find copies", view + 1, VIEWS)
    verdicts.store()
    return components(len(ids), np.concatenate(links))


def _look_through(
    order: Order, ids: NDArray[np.uint64], sketches: NDArray[np.uint8], read: Read, verdicts: Verdicts
) -> None:
    """Judge what has to be, so that in every stretch what shows one picture hangs together by verdicts."""
    stretches = list(order.stretches())
    name = b"%d" % order.view
    digests = np.array(
        [
            int.from_bytes(hashlib.blake2b(ids[rows].tobytes(), digest_size=8, key=name).digest(), "big")
            for rows in stretches
        ],
        np.uint64,
    )
    unseen = np.flatnonzero(verdicts.unseen(digests))
    waiting: list[_Stretch] = []
    for number in unseen:
        waiting.append(_Stretch(stretches[number], order.alike(stretches[number])))
        if len(waiting) == _TOGETHER or sum(x.alike.size for x in waiting) > _CELLS:
            _settle(waiting, order, sketches, read, verdicts)
            waiting = []
    _settle(waiting, order, sketches, read, verdicts)
    verdicts.see(digests[unseen])


class _Stretch:
    """Photos that are held against each other, until those that are alike and not yet linked have all been."""

    def __init__(self, rows: NDArray[np.int64], alike: NDArray[np.bool_]) -> None:
        self.rows, self.alike = rows, alike
        self._links = np.zeros((0, 2), np.int64)
        self._asked = self._links

    def ask(self) -> NDArray[np.int64]:
        """A pair for each photo that is left, with the first that it is alike: int64[m, 2]."""
        other = np.flatnonzero(self.alike.any(axis=0))
        self._asked = np.stack([self.alike[:, other].argmax(axis=0), other], axis=1)
        return np.sort(self.rows[self._asked], axis=1)

    def answer(self, same: NDArray[np.bool_]) -> None:
        """Which of the pairs that were asked for show one picture."""
        self.alike[self._asked[:, 0], self._asked[:, 1]] = False
        if same.any():
            self._links = np.concatenate([self._links, self._asked[same]])
            group = components(len(self.rows), self._links)
            self.alike &= group[:, None] != group


def _settle(
    stretches: Sequence[_Stretch],
    order: Order,
    sketches: NDArray[np.uint8],
    read: Read,
    verdicts: Verdicts,
) -> None:
    """Ask and answer, many stretches at a time."""
    while stretches := [x for x in stretches if x.alike.any()]:
        asked = [x.ask() for x in stretches]
        numbers = np.concatenate(asked) @ (len(sketches), 1)
        numbers, places = np.unique(numbers, return_inverse=True)
        pairs = np.stack(np.divmod(numbers, len(sketches)), axis=1)
        near = order.near(pairs, sketches)
        new = near & ~verdicts.look_up(pairs)[0]
        if new.any():
            verdicts.add(pairs[new], _judge(pairs[new], read))
        same = (near & verdicts.look_up(pairs)[1])[places]
        for stretch, answers in zip(
            stretches, np.split(same, np.cumsum([len(x) for x in asked])), strict=False
        ):
            stretch.answer(answers)


def _judge(pairs: NDArray[np.int64], read: Read) -> NDArray[np.bool_]:
    """Which pairs show one picture, in either of their prints."""
    same = np.zeros(len(pairs), bool)
    for at in range(0, len(pairs), _READ):
        rows, places = np.unique(pairs[at : at + _READ], return_inverse=True)
        prints = read(rows)
        one, other = places.reshape(-1, 2).T
        for which in (0, 1):
            open_ = np.flatnonzero(~same[at : at + _READ])
            if not len(open_):
                break
            same[at + open_] = _show_one(prints[one[open_], which], prints[other[open_], which])
    return same


def _show_one(one: np.ndarray, other: np.ndarray) -> NDArray[np.bool_]:
    """bool[m]: whether uint8[m, 32, 32, 3] and their like show one picture."""
    apart = _apart(one, other)
    same: NDArray[np.bool_] = apart[:, -1] <= _NOTHING
    open_ = np.flatnonzero(~same & (apart[:, : 4 * apart.shape[1] // 5].mean(axis=1) <= _QUICK))
    for at in range(0, len(open_), _BLOCK):
        some = open_[at : at + _BLOCK]
        same[some] = same_picture(one[some], other[some])
    return same


def _apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """f32[m, 256]: how far 16 x 16 cells differ, brightness set right, in order."""
    a, b = (x.reshape(len(x), 16, 2, 16, 2, 3).mean(axis=(2, 4), dtype=np.float32) for x in (one, other))
    grey_a, grey_b = a @ _GREY, b @ _GREY
    gain = gain_of(grey_a.reshape(len(a), -1), grey_b.reshape(len(a), -1), True, few=10)[:, None, None, None]
    apart = np.abs(
        np.minimum(255, a * np.maximum(gain, 1)) - np.minimum(255, b * np.maximum(1 / gain, 1))
    ).max(axis=3)
    ordered: np.ndarray = np.sort(apart.reshape(len(a), -1), axis=1)
    return ordered
