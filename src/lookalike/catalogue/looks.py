"""Looks: what photos are known by when their categories are doubted, and which photos look most alike.

Photos and their prints enter (`prints`), descriptors and neighbours leave. A descriptor has edge directions in 4 x 4
cells, after Dalal and Triggs 2005, and mean colours, as whole numbers: their products are exact, on every machine and
in any company. So neighbours can be remembered from one curation to the next and brought up to date by what has come
and gone, and are what a search of all against all finds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from lookalike.catalogue.parts import add_part, merge_parts, read_parts
from lookalike.catalogue.prints import Prints, small_prints
from lookalike.errors import ObjectNotFound
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore

NEIGHBOURS = 12
MOST_ITEMS = 1 << 15
"""Items that neighbours can be found of: their numbers have 16 bits where they are remembered."""
_VERSION = 1
"""Raised when descriptors change."""
_SCALE = 2048
"""Of whole numbers; sums of their products stay below 2**24, so that float32 adds them exactly."""
_BINS, _CELLS = 8, 4
_LENGTH = _CELLS * _CELLS * (_BINS + 3)
_KEPT = 4
"""States that are remembered, for shops that share a store."""
_BLOCK = 128
_NOBODY = 0xFFFF
_DESCRIBED = pa.schema(
    [
        pa.field("photo_id", pa.string(), nullable=False),
        pa.field("looks", pa.binary(2 * _LENGTH), nullable=False),  # int16[176]
    ]
)
_NEAR = pa.schema(
    [
        pa.field("item", pa.uint64(), nullable=False),  # in order
        pa.field("near", pa.binary(2 * NEIGHBOURS), nullable=False),  # uint16[12], rows of this table
    ]
)


class Looks:
    """Descriptors and neighbours of what one photo log knows."""

    def __init__(self, store: ObjectStore, cache_dir: Path, way: str, prints: Prints) -> None:
        self._store, self._cache, self._prints = store, cache_dir, prints
        self._described = keys.looks(way, _VERSION, "described")
        self._near = keys.looks(way, _VERSION, "near")

    def described(self, photo_ids: Sequence[str]) -> NDArray[np.int16]:
        """int16[n, 176], of which the dot product says how alike two photos are. Those of new photos are kept."""
        known = read_parts(self._store, self._cache, self._described, _DESCRIBED)
        asked = pa.array(photo_ids, pa.string())
        new = pc.unique(asked.filter(pc.invert(pc.is_in(asked, known["photo_id"].combine_chunks()))))
        if len(new):
            looks = described(small_prints(self._prints, new))
            rows = pa.table([new, [one.tobytes() for one in looks]], schema=_DESCRIBED)
            add_part(self._store, self._described, rows)
            merge_parts(self._store, self._cache, self._described, _DESCRIBED, lambda rows: rows)
            known = pa.concat_tables([known, rows])
        taken = known["looks"].take(pc.index_in(asked, known["photo_id"].combine_chunks()))
        return _numbers(taken, _LENGTH).view(np.int16)

    def nearest(
        self, items: NDArray[np.uint64], own: NDArray[np.int64], looks: NDArray[np.int16]
    ) -> NDArray[np.int64]:
        """For each item the twelve that look most like it and have another `own`, best first; -1 where there are fewer.

        `items` are in order and name photo and `own`: an item with the same name has the same of both, always.
        """
        near = updated(items, own, looks.astype(np.float32), *self._remembered(items))
        numbers = np.where(near < 0, _NOBODY, near).astype(np.uint16)
        rows = pa.table([items, [one.tobytes() for one in numbers]], schema=_NEAR)
        key = add_part(self._store, self._near, rows)
        for other in self._states()[_KEPT:]:
            if other != key:
                self._store.delete(other)
        return near

    def _states(self) -> list[str]:
        """Newest first, by the store's times: where these are wrong neighbours are found anew, and nothing else."""
        found = sorted(self._store.list(self._near), key=lambda info: info.modified, reverse=True)
        return [info.key for info in found]

    def _remembered(self, items: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Of the remembered states the one that has most of `items`: its items, and their neighbours."""
        best, most = (np.zeros(0, np.uint64), np.zeros((0, NEIGHBOURS), np.int64)), 0
        for key in self._states()[:_KEPT]:
            try:
                data = self._store.get(key)
            except ObjectNotFound:  # another curation has a newer one
                continue
            if hashlib.sha256(data).hexdigest() not in key:
                continue  # it is found out anew
            rows = pq.read_table(pa.BufferReader(data)).cast(_NEAR)
            there = rows["item"].to_numpy()
            shared = int(np.isin(items, there).sum())
            if shared > most:
                near = _numbers(rows["near"], NEIGHBOURS).astype(np.int64)
                best, most = (there, np.where(near == _NOBODY, -1, near)), shared
        return best


def updated(
    items: NDArray[np.uint64],
    own: NDArray[np.int64],
    looks: NDArray[np.float32],
    known: NDArray[np.uint64],
    near: NDArray[np.int64],
) -> NDArray[np.int64]:
    """int64[n, 12]: what `Looks.nearest` says, from the neighbours `near` that items `known` had among themselves."""
    count = len(items)
    was = np.isin(items, known)
    now = np.append(np.searchsorted(items, known).clip(max=max(0, count - 1)), -1)  # the last is of nobody
    now[:-1][~np.isin(known, items)] = -1
    found = np.full((count, NEIGHBOURS), -1, np.int64)
    found[was] = now[near[np.isin(known, items)]]
    groups = _Groups(own)
    anew = np.flatnonzero((found < 0).any(axis=1))
    for at in range(0, len(anew), _BLOCK):
        rows = anew[at : at + _BLOCK]
        found[rows] = _best(_ranks(looks, own, rows, None, groups), np.arange(count))
    come, stay = np.flatnonzero(~was), np.setdiff1d(np.arange(count), anew)
    for at in range(0, len(stay) if len(come) else 0, _BLOCK):
        rows = stay[at : at + _BLOCK]
        last = found[rows, -1]
        least = _rank((looks[rows] * looks[last]).sum(axis=1, dtype=np.float64), last)
        ranks = _ranks(looks, own, rows, come, groups)
        for place in np.flatnonzero((ranks > least[:, None]).any(axis=1)):
            row = rows[place]
            old = _rank((looks[found[row]] @ looks[row]).astype(np.float64), found[row])
            both = np.concatenate([old, ranks[place]])[None]
            found[row] = _best(both, np.concatenate([found[row], come]))[0]
    return found


class _Groups:
    """The rows of each `own`."""

    def __init__(self, own: NDArray[np.int64]) -> None:
        self.rows = np.argsort(own, kind="stable")
        self.sizes = np.bincount(own)
        self.starts = np.cumsum(self.sizes) - self.sizes


def _ranks(
    looks: NDArray[np.float32],
    own: NDArray[np.int64],
    rows: NDArray[np.int64],
    others: NDArray[np.int64] | None,
    groups: _Groups,
) -> NDArray[np.float64]:
    """float64[rows, others]: whole numbers, higher for what is more alike; of `others`, or of all."""
    if others is not None:
        ranks = _rank((looks[rows] @ looks[others].T).astype(np.float64), others)
        ranks[own[rows][:, None] == own[others]] = -np.inf
        return ranks
    ranks = _rank((looks[rows] @ looks.T).astype(np.float64), np.arange(len(looks)))
    for place, row in enumerate(rows):
        start = groups.starts[own[row]]
        ranks[place, groups.rows[start : start + groups.sizes[own[row]]]] = -np.inf
    return ranks


def _rank(likeness: NDArray[np.float64], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of two that are equally alike the first stands higher, so no two are equal. Changes `likeness`."""
    likeness *= MOST_ITEMS
    likeness -= rows
    return likeness


def _best(ranks: NDArray[np.float64], names: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each row the twelve highest, best first; -1 where there are fewer."""
    most = min(NEIGHBOURS, ranks.shape[1])
    found = np.full((len(ranks), NEIGHBOURS), -1, np.int64)
    if most:
        at = np.argpartition(ranks, ranks.shape[1] - most, axis=1)[:, -most:]
        high = np.take_along_axis(ranks, at, axis=1)
        order = np.argsort(-high, axis=1)
        at, high = np.take_along_axis(at, order, axis=1), np.take_along_axis(high, order, axis=1)
        found[:, :most] = np.where(np.isfinite(high), names[at], -1)
    return found


def _numbers(column: pa.ChunkedArray, length: int) -> NDArray[np.uint16]:
    """uint16[n, length] of a column of fixed binaries."""
    rows = column.combine_chunks()
    flat = np.frombuffer(rows.buffers()[1] or b"", np.uint16).reshape(-1, length)
    return flat[rows.offset : rows.offset + len(rows)]


def described(prints: NDArray[np.uint8]) -> NDArray[np.int16]:
    """int16[n, 176] of uint8[n, 16, 16, 3]."""
    found = [np.zeros((0, _LENGTH), np.int16)]
    for at in range(0, len(prints), 4 * _BLOCK):
        found.append(np.rint(_described(prints[at : at + 4 * _BLOCK]) * _SCALE).astype(np.int16))
    return np.concatenate(found)


def _described(prints: NDArray[np.uint8]) -> NDArray[np.float64]:
    """float64: rounding hides in which order a machine adds."""
    count = len(prints)
    grey = prints.mean(axis=3, dtype=np.float64)
    grey = (grey - grey.mean(axis=(1, 2), keepdims=True)) / (grey.std(axis=(1, 2), keepdims=True) + 8)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(across, down)
    turn = (np.arctan2(down, across) % np.pi) / np.pi * _BINS
    lower = np.floor(turn).astype(np.int64) % _BINS
    edges = np.zeros((*grey.shape, _BINS))
    for chosen, part in ((lower, 1 - turn % 1), ((lower + 1) % _BINS, turn % 1)):
        share = np.zeros_like(edges)
        np.put_along_axis(share, chosen[..., None], (strength * part)[..., None], axis=3)
        edges += share
    in_cells = (count, _CELLS, grey.shape[1] // _CELLS, _CELLS, grey.shape[2] // _CELLS)
    by_edges = edges.reshape(*in_cells, _BINS).sum(axis=(2, 4)).reshape(count, -1)
    by_colour = prints.reshape(*in_cells, 3).mean(axis=(2, 4), dtype=np.float64).reshape(count, -1) - 128
    parts = [part / (np.linalg.norm(part, axis=1, keepdims=True) + 1e-6) for part in (by_edges, by_colour)]
    return np.concatenate([parts[0], 0.5 * parts[1]], axis=1)
