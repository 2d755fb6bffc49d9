"""An index snapshot in memory: its segments mapped, its partitions as views on the maps.

Opening checks the metadata of every segment (`mapped`). The texts of a partition are checked when it is first used,
once, so that no offset or index in a damaged file can lead outside of it. A file's digest says more than both, and
`storage.artefacts.fetch` has compared it; the checks hold for files that come from elsewhere, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lookalike.errors import SegmentError
from lookalike.index.mapped import MappedSegment
from lookalike.index.segment import SKETCH_PLANES, aligned, segment_name
from lookalike.index.sketch import Sketch
from lookalike.storage.artefacts import Artefact

_LISTS = pa.list_(pa.dictionary(pa.int32(), pa.utf8()))


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """The rows of one leaf category in one segment, sorted by listing id; all columns are views on the map."""

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
                for field in ("bits", "release", "preset", "aspects")
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
        self.release, self.bits = first.release, first.bits
        self.preset: Mapping[str, Any] = MappingProxyType(dict(first.preset))
        self.aspects = first.aspects
        rows = np.array([[n for _, n in header.categories] for header in headers], np.int64).sum(axis=0)
        self.rows: Mapping[str, int] = MappingProxyType(
            {category: int(n) for (category, _), n in zip(first.categories, rows, strict=True) if n}
        )
        """Rows of each leaf category that has any."""
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
    layout, starts, lengths = segment.layout, segment.starts[batch], segment.lengths[batch]

    def view(column: str, part: str = "data") -> npt.NDArray[np.uint8]:
        place = layout.place(column, part)
        return segment.data[starts[place] : starts[place] + lengths[place]]

    def text(column: str) -> pa.StringArray:
        places = [layout.place(column, "offsets"), layout.place(column)]
        with segment.translated("rows", f"the texts in {column} of {category}"):
            return segment.text(rows, starts[places], lengths[places])

    def lists(name: str) -> pa.ListArray:
        column = f"aspect_{name}"
        items, offsets = view(f"{column}.item"), pa.py_buffer(view(column, "offsets"))
        with segment.translated("rows", f"the lists in {column} of {category}"):
            indices = pa.Array.from_buffers(pa.int32(), len(items) // 4, [None, pa.py_buffer(items)])
            values = pa.DictionaryArray.from_arrays(indices, segment.dictionaries[name], safe=False)
            array = pa.Array.from_buffers(_LISTS, rows, [None, offsets], children=[values])
            array.validate(full=True)
            return array

    sketch = None
    if batch in segment.groupings and rows:
        start, stride = int(starts[layout.place("sketch.g00")]), aligned(rows)
        planes = segment.data[start : start + SKETCH_PLANES * stride].reshape(SKETCH_PLANES, stride)
        grouping = segment.groupings[batch]
        sketch = Sketch(grouping, planes, grouping.counter())
    return Partition(
        category=category,
        codes=view("code").reshape(rows, segment.header.width),
        listing_ids=text("listing_id"),
        photo_ids=text("photo_id"),
        groups=text("group"),
        prices=view("price").view("<f8"),
        aspects=MappingProxyType({name: lists(name) for name in segment.header.aspects}),
        sketch=sketch,
    )
