"""An index snapshot in memory: its segments mapped, its partitions as views on the maps.

Opening checks the metadata of every segment (`mapped`). The texts of a partition are checked when it is first used,
once, so that no offset or index in a damaged file can lead outside of it. A file's digest says more than both, and
`storage.artefacts.fetch` has compared it; the checks hold for files that come from elsewhere, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.errors import SegmentError
from lookalike.index.mapped import MappedSegment
from lookalike.index.segment import ASPECT, SKETCH_PLANES, aligned, segment_name
from lookalike.index.sketch import Sketch
from lookalike.index.values import values_at
from lookalike.storage.artefacts import Artefact


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """The rows of one leaf category in one segment, sorted by listing id and ordinal; columns are views on the map.

    A row is a photo of a listing.
    """

    category: str
    codes: npt.NDArray[np.uint8]
    """uint8[n, bits / 8]"""
    listing_ids: pa.StringArray
    photo_ids: pa.StringArray
    groups: pa.StringArray
    prices: npt.NDArray[np.float64]
    """float64[n], NaN where the listing has none"""
    aspects: Mapping[str, pa.ListArray]
    """Aspect name -> list<dictionary<int32, utf8>>[n], an empty list where the listing says nothing"""
    sketch: Sketch | None = None
    """What lets a scan skip rows, in large categories only"""
    alive: npt.NDArray[np.uint8] | None = None
    """uint8[ceil(n / 8)], row i in bit i % 8 of byte i // 8: those that no delta replaced or removed; None: all"""
    ordinals: npt.NDArray[np.int32] | None = None
    """int32[n], which photo of its listing a row is: 0 is the main photo. None: each row is one."""
    firsts: npt.NDArray[np.int64] | None = None
    """int64[listings], ascending: the first row of each listing. None: each row is a listing of its own."""
    columns: Mapping[str, pa.Array] = field(default_factory=dict)
    """Further columns of the listing, price included; use `column` to look at some rows of one."""
    descriptors: Mapping[str, npt.NDArray[np.uint8]] = field(default_factory=dict)
    """uint8[n, width] each: further vectors of a photo"""

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def rows_alive(self) -> int:
        """Rows that are not dead."""
        return len(self) if self.alive is None else int(np.bitwise_count(self.alive).sum(dtype=np.int64))

    def is_alive(self, row: int) -> bool:
        """Whether a row is not dead."""
        return self.alive is None or bool(self.alive[row >> 3] >> (row & 7) & 1)

    def alive_mask(self) -> npt.NDArray[np.bool_]:
        """bool[n]: the rows that are not dead."""
        if self.alive is None:
            return np.ones(len(self), np.bool_)
        return np.unpackbits(self.alive, count=len(self), bitorder="little").astype(np.bool_)

    @property
    def listings(self) -> int:
        """How many listings the rows are photos of, dead ones included."""
        return len(self) if self.firsts is None else len(self.firsts)

    @property
    def listings_alive(self) -> int:
        """How many listings are not dead. Photos of one are dead together."""
        if self.firsts is None or self.alive is None:
            return self.rows_alive if self.firsts is None else len(self.firsts)
        return int(self.alive_mask()[self.firsts].sum())

    def first_of(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """int64[m]: the first row of the listing that each of `rows` is a photo of."""
        if self.firsts is None:
            return rows
        found: npt.NDArray[np.int64] = self.firsts[np.searchsorted(self.firsts, rows, side="right") - 1]
        return found

    def photo_ordinals(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
        """int32[m]: which photo of its listing each of `rows` is."""
        return np.zeros(len(rows), np.int32) if self.ordinals is None else self.ordinals[rows]

    def column(self, name: str, rows: npt.NDArray[np.int64]) -> pa.Array | None:
        """What the listings of `rows` state in a column; None where the segment has no such column."""
        column = self.columns.get(name)
        return None if column is None else column.take(pa.array(self.first_of(rows)))

    def values(self, name: str, rows: npt.NDArray[np.int64]) -> list[Any]:
        """The same as Python values; None where a listing states nothing, or the segment has no such column."""
        column = self.columns.get(name)
        return [None] * len(rows) if column is None else values_at(column, self.first_of(rows))


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of a snapshot's files, and how many of them are in memory now (page cache, shared by processes)."""

    mapped: int
    resident: int


class IndexSnapshot:
    """The segments of one index snapshot, or one of them; use `open`.

    Partitions stay valid after `close`, as long as they are held.
    """

    def __init__(
        self, segments: Sequence[MappedSegment], name: str = "", *, only: tuple[int, int] | None = None
    ) -> None:
        """`segments` in the order of their shards; `only` (shard, shards) says that it is one, out of so many.

        Raises `SegmentError` (rule `snapshot`) if they are not these.
        """
        headers = [segment.header for segment in segments]
        first = headers[0]
        first_shard, shards = only or (0, len(segments))
        for shard, (segment, header) in enumerate(zip(segments, headers, strict=True), first_shard):
            alike = all(
                getattr(header, field) == getattr(first, field)
                for field in ("format", "bits", "release", "preset", "aspects", "columns", "descriptors")
            )
            names = [category for category, _ in header.categories] == [
                category for category, _ in first.categories
            ]
            if not alike or not names or (header.shard, header.shards) != (shard, shards):
                message = (
                    f"it is shard {header.shard} of {header.shards} of another snapshot than its neighbours"
                )
                raise segment.broken("snapshot", message)
        self.name = name
        """The artefact's reference, as text."""
        self.delta = ""
        """Nothing has changed since it was built (see `layers.LayeredIndex`)."""
        self.release, self.bits = first.release, first.bits
        self.preset: Mapping[str, Any] = MappingProxyType(dict(first.preset))
        self.aspects, self.columns, self.descriptors = first.aspects, first.columns, first.descriptors
        self.format = first.format
        rows = np.array([[n for _, n in header.categories] for header in headers], np.int64).sum(axis=0)
        self.rows: Mapping[str, int] = MappingProxyType(
            {category: int(n) for (category, _), n in zip(first.categories, rows, strict=True) if n}
        )
        """Rows, photos of listings, of each leaf category that has any."""
        counts = np.array([header.listings for header in headers], np.int64).sum(axis=0)
        self.listings: Mapping[str, int] = MappingProxyType(
            {category: int(n) for (category, _), n in zip(first.categories, counts, strict=True) if n}
        )
        """Listings of each leaf category that has any."""
        self._batch = {category: i for i, (category, _) in enumerate(first.categories)}
        self._segments = tuple(segments)
        self._partitions: dict[str, tuple[Partition, ...]] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, artefact: Artefact, *, shard: int | None = None) -> Self:
        """Map the segments of a fetched index artefact, or that of one `shard`.

        Raises `SegmentError` naming file and rule.
        """
        stated = artefact.manifest.meta.get("shards")
        shards = stated if isinstance(stated, int) else 0
        wanted = range(shards) if shard is None else [shard]
        names = [segment_name(n, shards) for n in wanted]
        only = None if shard is None else (shard, shards)
        if not names or not set(names) <= set(artefact.paths):
            raise SegmentError(
                str(artefact.ref), "snapshot", f"the manifest does not list its {stated} segments"
            )
        snapshot = cls.open_files([artefact.path(name) for name in names], name=str(artefact.ref), only=only)
        if (snapshot.release, snapshot.bits) != tuple(
            artefact.manifest.meta.get(n) for n in ("release", "bits")
        ):
            raise SegmentError(
                names[0], "snapshot", "it was built for another model release than its manifest says"
            )
        return snapshot

    @classmethod
    def open_files(
        cls, paths: Iterable[Path], *, name: str = "", only: tuple[int, int] | None = None
    ) -> Self:
        """Map segments that lie somewhere, without a manifest, in the order of their shards; `only` as above."""
        segments: list[MappedSegment] = []
        try:
            for path in paths:
                segments.append(MappedSegment(path))
            if not segments:
                raise SegmentError(name, "snapshot", "a snapshot has at least one segment")
            return cls(segments, name, only=only)
        except SegmentError:
            for segment in segments:
                segment.close()
            raise

    @property
    def categories(self) -> tuple[str, ...]:
        """Leaf categories that have rows, in order."""
        return tuple(self.rows)

    def __len__(self) -> int:
        return sum(self.rows.values())

    def partitions(self, category: str) -> tuple[Partition, ...]:
        """The partitions of one leaf category, of every segment that has rows of it; none for an unknown category.

        Raises `SegmentError` (rule `rows`) where the texts of the partition are damaged.
        """
        if category not in self.rows:
            return ()
        with self._lock:
            if category not in self._partitions:
                batch = self._batch[category]
                parts = [_partition(segment, batch) for segment in self._segments]
                self._partitions[category] = tuple(part for part in parts if len(part))
            return self._partitions[category]

    def prefetch(self) -> None:
        """Read every segment into memory and check every partition, so that no query has to wait for a disk."""
        for segment in self._segments:
            segment.prefetch()
        for category in self.categories:
            self.partitions(category)

    def memory(self) -> Memory:
        """How much of the snapshot is in memory."""
        return Memory(
            sum(len(segment.data) for segment in self._segments),
            sum(segment.resident() for segment in self._segments),
        )

    def close(self) -> None:
        """Let go of the maps; each is unmapped when the last view on it is gone."""
        self.rows, self._partitions = {}, {}
        for segment in self._segments:
            segment.close()
        self._segments = ()


def _partition(segment: MappedSegment, batch: int) -> Partition:
    """One record batch of a segment, its rows checked. Raises `SegmentError` (rule `rows`)."""
    header, (category, rows) = segment.header, segment.header.categories[batch]
    columns = segment.batch(batch)
    listing_ids = columns["listing_id"]
    further = {name: columns[name] for name, _ in header.columns}
    for name, kind in header.columns:
        _check_nulls(segment, batch, name)
        if kind == "label":
            _check_labels(segment, batch, further[name], name)

    def vectors(name: str, width: int) -> npt.NDArray[np.uint8]:
        return segment.view(batch, name).reshape(rows, width)

    sketch = None
    if batch in segment.groupings and rows:
        start, stride = int(segment.starts[batch, segment.layout.place("sketch.g00")]), aligned(rows)
        planes = segment.data[start : start + SKETCH_PLANES * stride].reshape(SKETCH_PLANES, stride)
        grouping = segment.groupings[batch]
        sketch = Sketch(grouping, planes, grouping.counter())
    priced = ("price", "number") in header.columns
    return Partition(
        category=category,
        codes=vectors("code", header.width),
        listing_ids=listing_ids,
        photo_ids=columns["photo_id"],
        groups=columns["group"],
        prices=segment.view(batch, "price").view("<f8") if priced else np.full(rows, np.nan),
        aspects=MappingProxyType({name: columns[ASPECT + name] for name in header.aspects}),
        sketch=sketch,
        ordinals=_ordinals(segment, batch) if header.format > 1 else None,
        firsts=_firsts(segment, batch, listing_ids),
        columns=MappingProxyType(further),
        descriptors=MappingProxyType({name: vectors(name, width) for name, width in header.descriptors}),
    )


def _ordinals(segment: MappedSegment, batch: int) -> npt.NDArray[np.int32]:
    found = segment.view(batch, "photo_ordinal").view("<i4")
    if len(found) and found.min() < 0:
        raise _broken(segment, batch, "a photo's ordinal is negative")
    return found


def _firsts(segment: MappedSegment, batch: int, listing_ids: pa.StringArray) -> npt.NDArray[np.int64] | None:
    """The first row of each listing; None where the header says that each row is one."""
    stated = segment.header.listings[batch]
    if stated == len(listing_ids):
        return None
    new = pc.not_equal(listing_ids[1:], listing_ids[:-1]).to_numpy(zero_copy_only=False)
    found: npt.NDArray[np.int64] = np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)
    if len(found) != stated:
        raise _broken(segment, batch, f"there are {len(found):,} listings where the header says {stated:,}")
    return found


def _check_nulls(segment: MappedSegment, batch: int, name: str) -> None:
    """pyarrow does not look at the validity of a column that says it has no nulls."""
    rows, valid = segment.header.categories[batch][1], segment.view(batch, name, "validity")
    stated = segment.nulls[batch, segment.layout.nodes.index(name)]
    if rows - int(np.bitwise_count(valid).sum(dtype=np.int64)) != stated:
        raise _broken(segment, batch, f"{name} has another number of nulls than it says")


def _check_labels(segment: MappedSegment, batch: int, labels: pa.DictionaryArray, name: str) -> None:
    """pyarrow does not look at the index under a null."""
    places, values = segment.view(batch, name).view("<i4"), len(labels.dictionary)
    none = not values and labels.null_count == len(labels)  # a null's index is 0, value or not
    if len(places) and not (places.min() >= 0 and places.max() < max(values, int(none))):
        raise _broken(segment, batch, f"{name} has an index without a value")


def _broken(segment: MappedSegment, batch: int, what: str) -> SegmentError:
    return segment.broken("rows", f"{segment.header.categories[batch][0]}: {what}")
