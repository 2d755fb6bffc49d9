"""An index snapshot in memory: its segments mapped, its partitions as views on the maps.

Opening checks the metadata of every segment (`mapped`). The texts of a partition are checked when it is first used,
once, so that no offset or index in a damaged file can lead outside of it. A file's digest says more than both, and
`storage.artefacts.fetch` has compared it; the checks hold for files that come from elsewhere, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.columns import Storage
from lookalike.errors import SegmentError
from lookalike.index.mapped import MappedSegment
from lookalike.index.segment import SKETCH_PLANES, aligned, segment_name
from lookalike.index.sketch import Sketch
from lookalike.storage.artefacts import Artefact

_LISTS = pa.list_(pa.dictionary(pa.int32(), pa.utf8()))


_LABELS = pa.dictionary(pa.int32(), pa.utf8())


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
    category, rows = segment.header.categories[batch]
    columns = _Columns(segment, batch)
    listing_ids = columns.text("listing_id")
    priced = ("price", "number") in segment.header.columns
    further = {name: columns.further(name, kind) for name, kind in segment.header.columns}
    sketch = None
    if batch in segment.groupings and rows:
        start, stride = int(segment.starts[batch, segment.layout.place("sketch.g00")]), aligned(rows)
        planes = segment.data[start : start + SKETCH_PLANES * stride].reshape(SKETCH_PLANES, stride)
        grouping = segment.groupings[batch]
        sketch = Sketch(grouping, planes, grouping.counter())
    return Partition(
        category=category,
        codes=columns.view("code").reshape(rows, segment.header.width),
        listing_ids=listing_ids,
        photo_ids=columns.text("photo_id"),
        groups=columns.text("group"),
        prices=columns.view("price").view("<f8") if priced else np.full(rows, np.nan),
        aspects=MappingProxyType({name: columns.lists(f"aspect_{name}") for name in segment.header.aspects}),
        sketch=sketch,
        ordinals=columns.ordinals() if segment.header.format > 1 else None,
        firsts=columns.firsts(listing_ids),
        columns=MappingProxyType(further),
        descriptors=MappingProxyType(
            {name: columns.view(name).reshape(rows, width) for name, width in segment.header.descriptors}
        ),
    )


class _Columns:
    """The columns of one batch, each checked as it is made. Raises `SegmentError` (rule `rows`)."""

    def __init__(self, segment: MappedSegment, batch: int) -> None:
        self._segment, self._batch = segment, batch
        self._category, self._rows = segment.header.categories[batch]

    def view(self, column: str, part: str = "data") -> npt.NDArray[np.uint8]:
        place = self._segment.layout.place(column, part)
        start = self._segment.starts[self._batch, place]
        return self._segment.data[start : start + self._segment.lengths[self._batch, place]]

    def text(self, column: str, validity: pa.Buffer | None = None) -> pa.StringArray:
        places = [self._segment.layout.place(column, part) for part in ("offsets", "data")]
        starts, lengths = (a[self._batch, places] for a in (self._segment.starts, self._segment.lengths))
        with self._translated(f"the texts in {column}"):
            return self._segment.text(self._rows, starts, lengths, validity)

    def lists(self, column: str) -> pa.ListArray:
        items, offsets = self.view(f"{column}.item"), pa.py_buffer(self.view(column, "offsets"))
        with self._translated(f"the lists in {column}"):
            indices = pa.Array.from_buffers(pa.int32(), len(items) // 4, [None, pa.py_buffer(items)])
            values = pa.DictionaryArray.from_arrays(indices, self._segment.dictionaries[column], safe=False)
            array = pa.Array.from_buffers(_LISTS, self._rows, [None, offsets], children=[values])
            array.validate(full=True)
            return array

    def further(self, column: str, kind: Storage) -> pa.Array:
        """A column of the listing, which may have nulls, as many as it is said to have."""
        validity, data = (pa.py_buffer(self.view(column, part)) for part in ("validity", "data"))
        if kind == "text":
            array = self.text(column, validity)
        elif kind == "number":
            array = pa.Array.from_buffers(pa.float64(), self._rows, [validity, data])
        else:
            array = self._labels(column, validity, data)
        if array.null_count != self._segment.nulls[self._batch, self._segment.layout.nodes.index(column)]:
            raise self._broken(f"{column} has another number of nulls than it says")
        return array

    def ordinals(self) -> npt.NDArray[np.int32]:
        found = self.view("photo_ordinal").view("<i4")
        if len(found) and found.min() < 0:
            raise self._broken("a photo's ordinal is negative")
        return found

    def firsts(self, listing_ids: pa.StringArray) -> npt.NDArray[np.int64] | None:
        """The first row of each listing; None where the header says that each row is one."""
        stated = self._segment.header.listings[self._batch]
        if stated == self._rows:
            return None
        new = pc.not_equal(listing_ids[1:], listing_ids[:-1]).to_numpy(zero_copy_only=False)
        found: npt.NDArray[np.int64] = np.concatenate([[0], np.flatnonzero(new) + 1]).astype(np.int64)
        if len(found) != stated:
            raise self._broken(f"there are {len(found):,} listings where the header says {stated:,}")
        return found

    def _labels(self, column: str, validity: pa.Buffer, data: pa.Buffer) -> pa.DictionaryArray:
        values, places = self._segment.dictionaries[column], np.frombuffer(data, "<i4")
        array = pa.DictionaryArray.from_buffers(_LABELS, self._rows, [validity, data], values)
        none = not len(values) and array.null_count == len(places)  # a null's index is 0, value or not
        if len(places) and not (places.min() >= 0 and places.max() < max(len(values), int(none))):
            raise self._broken(f"{column} has an index without a value")
        return array

    def _translated(self, what: str) -> AbstractContextManager[None]:
        return self._segment.translated("rows", f"{what} of {self._category}")

    def _broken(self, what: str) -> SegmentError:
        return self._segment.broken("rows", f"{self._category}: {what}")
