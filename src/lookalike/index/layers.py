"""A base index and its deltas as one index: rows that a delta replaced or removed are dead.

Enters: an opened base, and deltas in order, each an opened index of new and changed rows with tombstones. Leaves: what
`reader.IndexSnapshot` offers, over the rows that live. The tombstones of a delta kill rows of the base and of older
deltas, never its own. Which rows are dead is worked out once, when a generation is opened, by binary search; a
partition that loses no row is the very object that it was, so whatever was made of it serves again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from lookalike.errors import SegmentError
from lookalike.index.lookup import find_rows
from lookalike.index.reader import IndexSnapshot, Memory, Partition
from lookalike.index.tombstones import TOMBSTONES, Tombstones
from lookalike.storage.artefacts import Artefact, Manifest


@dataclass(frozen=True, slots=True, eq=False)
class DeltaLayer:
    """One opened delta: new and changed rows, and what they replace."""

    snapshot: IndexSnapshot | None
    """None where the delta only removes, or has no rows in the shards that were opened."""
    tombstones: Tombstones
    name: str


class LayeredIndex:
    """An index that deltas have changed. Partitions stay valid for as long as they are held."""

    def __init__(
        self, base: IndexSnapshot, deltas: Sequence[DeltaLayer], *, reuse: LayeredIndex | None = None
    ) -> None:
        """`reuse` is an earlier generation, whose partitions serve again where the same rows of them are dead.

        Raises `SegmentError` (rule `snapshot`) where a delta was made for another model release.
        """
        for delta in deltas:
            found = delta.snapshot
            if found is not None and (found.release, found.bits) != (base.release, base.bits):
                message = f"it was built for {found.release}, its base {base.name} for {base.release}"
                raise SegmentError(delta.name, "snapshot", message)
        self.base, self.deltas = base, tuple(deltas)
        self.name = base.name
        """The base's reference, as text."""
        self.delta = deltas[-1].name if deltas else ""
        """The last delta's reference, as text: it names the whole generation."""
        self.release, self.bits, self.preset = base.release, base.bits, base.preset
        snapshots = [base, *(d.snapshot for d in deltas if d.snapshot is not None)]
        self.aspects = tuple(sorted({name for snapshot in snapshots for name in snapshot.aspects}))
        self._masked: dict[int, Partition] = {}
        """The partitions that have dead rows, by the identity of what they are made from."""
        self._raw: list[Partition] = []
        self._found: dict[str, tuple[Partition, ...]] = {}
        rows = Counter[str]()
        for snapshot in snapshots:
            rows.update(snapshot.rows)
        rows.subtract(self._mask(reuse))
        self.rows: Mapping[str, int] = MappingProxyType({c: rows[c] for c in sorted(rows) if rows[c]})
        """Rows of each leaf category that has any."""
        listings = Counter[str]()
        for snapshot in snapshots:
            listings.update(snapshot.listings)
        for part in self._raw:
            listings[part.category] -= part.listings - self._masked[id(part)].listings_alive
        self.listings: Mapping[str, int] = MappingProxyType({c: listings[c] for c in self.rows})
        """Listings of each leaf category that has any."""

    @property
    def categories(self) -> tuple[str, ...]:
        """Leaf categories that have rows, in order."""
        return tuple(self.rows)

    def __len__(self) -> int:
        return sum(self.rows.values())

    def partitions(self, category: str) -> tuple[Partition, ...]:
        """The partitions of one leaf category that have rows alive, those of the base first."""
        found = self._found.get(category)
        if found is None:
            parts = (part for snapshot in self._snapshots() for part in snapshot.partitions(category))
            masked = (self._masked.get(id(part), part) for part in parts)
            found = self._found[category] = tuple(part for part in masked if part.rows_alive)
        return found

    def prefetch(self) -> None:
        """Read every segment into memory and check every partition."""
        for snapshot in self._snapshots():
            snapshot.prefetch()

    def memory(self) -> Memory:
        """How much of base and deltas is in memory."""
        found = [snapshot.memory() for snapshot in self._snapshots()]
        return Memory(sum(m.mapped for m in found), sum(m.resident for m in found))

    def close(self) -> None:
        """Let go of the maps, as `IndexSnapshot.close` does."""
        for snapshot in self._snapshots():
            snapshot.close()
        self.rows, self._masked, self._raw, self._found = {}, {}, [], {}

    def _snapshots(self) -> list[IndexSnapshot]:
        return [self.base, *(delta.snapshot for delta in self.deltas if delta.snapshot is not None)]

    def _mask(self, reuse: LayeredIndex | None) -> Counter[str]:
        """Find the dead rows; how many each category has."""
        dead = Counter[str]()
        layers: list[Any] = [self.base, *(delta.snapshot for delta in self.deltas)]
        for number, snapshot in enumerate(layers):
            if snapshot is None:
                continue
            later = [
                delta.tombstones for delta in self.deltas[number:]
            ]  # the base is layer 0, delta i layer i + 1
            for category in sorted({c for tombstones in later for c in tombstones.by_category}):
                for part in snapshot.partitions(category):
                    dead[category] += self._mask_partition(part, later, reuse)
        return dead

    def _mask_partition(
        self, part: Partition, later: Sequence[Tombstones], reuse: LayeredIndex | None
    ) -> int:
        living = living_rows(part, later)
        if living is None:
            return 0
        alive = np.packbits(living, bitorder="little")
        before = None if reuse is None else reuse._masked.get(id(part))
        if before is None or not np.array_equal(before.alive, alive):  # type: ignore[arg-type]  # masked: not None
            before = replace(part, alive=alive)
        self._raw.append(part)  # so that its identity is not given to another
        self._masked[id(part)] = before
        return int(len(part) - living.sum())


def living_rows(part: Partition, later: Sequence[Tombstones]) -> npt.NDArray[np.bool_] | None:
    """bool[n]: the rows of a partition that no tombstone of `later` deltas kills; None where it kills none."""
    spans = [
        find_rows(part.listing_ids, tombstones.by_category[part.category])
        for tombstones in later
        if part.category in tombstones.by_category
    ]
    if not spans:
        return None
    first, last = (np.concatenate([span[i] for span in spans]) for i in range(2))
    some = last > first
    if not some.any():
        return None
    turns = np.zeros(len(part) + 1, np.int64)
    np.add.at(turns, first[some], 1)
    np.add.at(turns, last[some], -1)
    living: npt.NDArray[np.bool_] = np.cumsum(turns[:-1]) == 0
    return living


def open_delta(artefact: Artefact, *, shard: int | None = None) -> DeltaLayer:
    """A fetched delta, or that of one `shard`. Raises `SegmentError`."""
    snapshot = IndexSnapshot.open(artefact, shard=shard) if has_rows(artefact.manifest) else None
    return DeltaLayer(snapshot, Tombstones.open(artefact.path(TOMBSTONES)), str(artefact.ref))


def has_rows(manifest: Manifest) -> bool:
    """Whether an index snapshot or a delta has segments: a delta may only remove."""
    return any(entry.name.endswith(".arrow") for entry in manifest.files)


def open_index(
    base: Artefact,
    deltas: Sequence[Artefact] = (),
    *,
    shard: int | None = None,
    reuse: AnyIndex | None = None,
    prefetch: bool = False,
) -> AnyIndex:
    """A fetched index snapshot with its fetched deltas, oldest first, or one `shard` of all of them.

    What `reuse` has open of the same artefacts (and the same shard) serves again and stays mapped. `prefetch` reads the
    others before it returns, so that no query waits for a disk. Raises `SegmentError`.
    """
    old = (reuse.base, reuse.deltas) if isinstance(reuse, LayeredIndex) else (reuse, ())
    snapshot = old[0] if old[0] is not None and old[0].name == str(base.ref) else None
    if snapshot is None:
        snapshot, reuse = IndexSnapshot.open(base, shard=shard), None
        if prefetch:
            snapshot.prefetch()
    if not deltas:
        return snapshot
    known, layers = {layer.name: layer for layer in old[1]}, []
    for delta in deltas:
        layer = known.get(str(delta.ref))
        if layer is None:
            layer = open_delta(delta, shard=shard)
            if prefetch and layer.snapshot is not None:
                layer.snapshot.prefetch()
        layers.append(layer)
    return LayeredIndex(snapshot, layers, reuse=reuse if isinstance(reuse, LayeredIndex) else None)


AnyIndex = IndexSnapshot | LayeredIndex
"""An index as it was built, or changed by deltas."""
