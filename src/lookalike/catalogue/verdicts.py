"""What was found out about pairs of photos, for all curations of a store: a pair is judged once.

Pairs with their verdicts and digests of stretches that were looked through (`sketches`) enter; what is known of the
photos at hand leaves. Both are facts about photos' bytes, whatever else a catalogue holds, so any curation may add to
them at any time, and none of it can be wrong later. A stretch is noted after the verdicts that it led to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.parts import add_part, merge_parts, read_parts
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore

VERSION = 1
"""Raised when sketches, their orders or what is one picture (`copies`, `alignment`) change: then all is judged anew."""
_MANY = 100_000
"""New verdicts that are kept before the end: a curation that is killed then has lost a few minutes."""
_PAIRS = pa.schema(
    [
        pa.field("one", pa.uint64(), nullable=False),  # the first 64 bits of a photo id
        pa.field("other", pa.uint64(), nullable=False),  # above `one`
        pa.field("same", pa.bool_(), nullable=False),
    ]
)
_STRETCHES = pa.schema([pa.field("stretch", pa.uint64(), nullable=False)])


class Verdicts:
    """What is known of some photos. Pairs are int64[m, 2] of their rows, the first below the second."""

    def __init__(
        self, store: ObjectStore, cache_dir: Path, prefix: str, ids: NDArray[np.uint64], pairs: pa.Table
    ) -> None:
        self._store, self._cache, self._prefix, self._ids = store, cache_dir, prefix, ids
        self._stretches = read_parts(store, cache_dir, f"{prefix}stretches/", _STRETCHES)[
            "stretch"
        ].to_numpy()
        both = np.stack([pairs["one"].to_numpy(), pairs["other"].to_numpy()], axis=1)
        rows = np.searchsorted(ids, both).clip(max=max(0, len(ids) - 1))
        here = (ids[rows] == both).all(axis=1) if len(ids) else np.zeros(0, bool)
        numbers, first = np.unique(self._numbers(rows[here]), return_index=True)
        self._known, self._same = numbers, pairs["same"].to_numpy()[here][first]
        self._new_pairs: list[pa.Table] = []
        self._new_stretches: list[NDArray[np.uint64]] = []

    @classmethod
    def open(cls, store: ObjectStore, cache_dir: Path, way: str, ids: NDArray[np.uint64]) -> Self:
        """Of photos with these ids, in order. Raises `CorruptObject` naming a damaged part."""
        prefix = keys.copies(way, VERSION)
        return cls(store, cache_dir, prefix, ids, read_parts(store, cache_dir, f"{prefix}pairs/", _PAIRS))

    @property
    def copies(self) -> NDArray[np.int64]:
        """All pairs that show one picture."""
        return np.stack(np.divmod(self._known[self._same], max(1, len(self._ids))), axis=1)

    def look_up(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether each pair was judged, and whether it shows one picture."""
        if not len(self._known):
            return np.zeros(len(pairs), bool), np.zeros(len(pairs), bool)
        numbers = self._numbers(pairs)
        at = np.searchsorted(self._known, numbers).clip(max=len(self._known) - 1)
        judged = self._known[at] == numbers
        return judged, judged & self._same[at]

    def add(self, pairs: NDArray[np.int64], same: NDArray[np.bool_]) -> None:
        """Verdicts of pairs that had none, in order."""
        numbers = self._numbers(pairs)
        at = np.searchsorted(self._known, numbers)
        self._known, self._same = np.insert(self._known, at, numbers), np.insert(self._same, at, same)
        one, other = self._ids[pairs[:, 0]], self._ids[pairs[:, 1]]
        self._new_pairs.append(pa.table([one, other, same], schema=_PAIRS))

    def unseen(self, stretches: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of these digests are new."""
        return ~np.isin(stretches, self._stretches)

    def see(self, stretches: NDArray[np.uint64]) -> None:
        """Note that all pairs of these were judged, as far as need be."""
        self._new_stretches.append(stretches)
        if sum(rows.num_rows for rows in self._new_pairs) > _MANY:
            self.store()

    def store(self) -> None:
        """Keep what is new for good."""
        pairs = pa.concat_tables([_PAIRS.empty_table(), *self._new_pairs])
        stretches = pa.table(
            [np.concatenate([np.zeros(0, np.uint64), *self._new_stretches])], schema=_STRETCHES
        )
        for name, rows in (("pairs/", pairs), ("stretches/", stretches)):
            if rows.num_rows:
                add_part(self._store, self._prefix + name, rows)
                merge_parts(self._store, self._cache, self._prefix + name, rows.schema, _distinct)
        self._new_pairs, self._new_stretches = [], []

    def _numbers(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        return pairs[:, 0] * len(self._ids) + pairs[:, 1]


def _distinct(rows: pa.Table) -> pa.Table:
    return rows.group_by(rows.schema.names).aggregate([])
