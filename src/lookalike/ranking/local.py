"""`Listings` of an index whose segments are mapped into this process."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from threading import Lock

import numpy as np
import pyarrow as pa

from lookalike.columns import own_columns
from lookalike.index.hamming import Scanner, bitmap
from lookalike.index.layers import AnyIndex, open_index
from lookalike.index.likeness import Likeness
from lookalike.index.lookup import find_rows
from lookalike.index.reader import Memory, Partition
from lookalike.ranking.candidates import MappedCandidates, listing_of, numbers_of
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import Candidates, IndexedListing, Listings, Summary, Wanted
from lookalike.ranking.scan import ScanJob, nearest_of_any, scan
from lookalike.ranking.stated import Dictionaries, StatedAspects
from lookalike.storage.artefacts import Artefact

_CACHED_BITMAPS = 512


def map_listings(
    index: Artefact,
    *,
    deltas: Sequence[Artefact] = (),
    threads: int = 0,
    reuse: Listings | None = None,
    prefetch: bool = False,
) -> MappedListings:
    """The listings of a fetched index snapshot, changed by fetched `deltas`, oldest first.

    `reuse` is another's, whose scanning threads serve again, and what it has open of the same artefacts. `prefetch`
    reads every other file before it returns, so that no query waits for a disk. Raises `SegmentError`.
    """
    before = reuse if isinstance(reuse, MappedListings) else None
    scanner = before.scanner if before else Scanner(threads)
    opened = open_index(index, deltas, reuse=before.index if before else None, prefetch=prefetch)
    likeness = Likeness.from_meta(index.manifest.meta)
    return MappedListings(opened, scanner, reuse=before, likeness=likeness)


class MappedListings:
    """`listings.Listings` of an opened snapshot, or of some of its shards."""

    def __init__(
        self,
        index: AnyIndex,
        scanner: Scanner,
        *,
        reuse: MappedListings | None = None,
        likeness: Likeness | None = None,
    ) -> None:
        """`reuse` is what was made of an earlier generation, whose partitions may be partitions of this one."""
        self.index, self.scanner = index, scanner
        dictionaries: Dictionaries = {}
        known: dict[int, StatedAspects] = {} if reuse is None else reuse._stated
        self._stated: dict[int, StatedAspects] = {
            id(p): found
            if (found := known.get(id(p))) and found.partition is p
            else StatedAspects(p, dictionaries)
            for category in index.categories
            for p in index.partitions(category)
        }
        self._bitmaps: OrderedDict[tuple[int, Filters], np.ndarray] = OrderedDict()
        self._lock = Lock()
        self.summary = replace(self._summarise(), likeness=likeness)

    def nearest(self, wanted: Sequence[Wanted]) -> list[Candidates]:
        # Questions that differ in their weights alone are scanned for once.
        asked = {key: self._jobs(w) for key, w in {_rows_asked_for(w): w for w in wanted}.items()}
        found = iter(scan(self.scanner, [job for each in asked.values() for job in each]))
        nearest = {key: nearest_of_any(each, list(islice(found, len(each)))) for key, each in asked.items()}
        return [
            MappedCandidates(asked[key][0], nearest[key], w.all_weights, self.stated)
            for w in wanted
            for key in (_rows_asked_for(w),)
        ]

    def find(self, listing_id: str) -> tuple[IndexedListing, np.ndarray] | None:
        place = self._place(listing_id)
        if place is None:
            return None
        partition, row, last = place
        photos = tuple(partition.photo_ids[row:last].to_pylist())
        listing = replace(listing_of(partition, row, self.stated(partition)), photos=photos)
        return listing, partition.codes[row:last]

    def memory(self) -> Memory:
        return self.index.memory()

    def stated(self, partition: Partition) -> StatedAspects:
        """What the listings of one of this index's partitions state."""
        return self._stated[id(partition)]

    def _place(self, listing_id: str) -> tuple[Partition, int, int] | None:
        """Where a listing lies, by binary search in each partition: its first row, and the one after its last."""
        wanted = pa.array([listing_id.encode(errors="surrogatepass")], pa.binary())
        for category in self.index.categories:
            for partition in self.index.partitions(category):
                first, last = (int(span[0]) for span in find_rows(partition.listing_ids, wanted))
                if first < last and partition.is_alive(first):
                    return partition, first, last
        return None

    def _jobs(self, wanted: Wanted) -> list[ScanJob]:
        """A scan for each code of a query."""
        partitions = tuple(p for category in wanted.categories for p in self.index.partitions(category))
        allowed = tuple(self._allowed(partition, wanted.filters) for partition in partitions)
        return [ScanJob(code, partitions, allowed, wanted.k) for code in wanted.codes]

    def _allowed(self, partition: Partition, filters: Filters) -> np.ndarray | None:
        """The rows that pass the filters, remembered: shoppers turn pages and keep their filters."""
        if not filters:
            return None
        key = (id(partition), filters)
        with self._lock:
            found = self._bitmaps.get(key)
            if found is None:
                found = self._bitmaps[key] = bitmap(self.stated(partition).passing(filters))
                if len(self._bitmaps) > _CACHED_BITMAPS:
                    self._bitmaps.popitem(last=False)
            self._bitmaps.move_to_end(key)
        return found

    def _summarise(self) -> Summary:
        index = self.index
        stated: dict[str, frozenset[str]] = {}
        values: dict[str, Counter[str]] = {}
        prices: list[float] = []
        examples: dict[str, tuple[str, str]] = {}
        own: dict[str, list[float]] = {}
        for category in index.categories:
            partitions = index.partitions(category)
            counts = [self.stated(partition).counts for partition in partitions]
            stated[category] = frozenset[str]().union(*counts)
            for name, found in (item for each in counts for item in each.items()):
                values.setdefault(name, Counter()).update(found)
            for partition in partitions:
                prices += _span(partition.prices[partition.alive_mask()])
                for column in own_columns(partition.columns):
                    span = own.setdefault(column.name, [])
                    if column.stored == "number":
                        span += _span(
                            numbers_of(partition, column.name, np.flatnonzero(partition.alive_mask()))
                        )
            examples[category] = min(_first(partition) for partition in partitions)
        return Summary(
            name=index.name,
            release=index.release,
            bits=index.bits,
            preset=index.preset,
            rows=dict(index.listings),
            stated=stated,
            values=values,
            prices=(min(prices), max(prices)) if prices else None,
            examples=examples,
            delta=index.delta,
            own={name: (min(span), max(span)) if span else None for name, span in sorted(own.items())},
        )


def _rows_asked_for(wanted: Wanted) -> tuple[object, ...]:
    """What decides which rows are the nearest: not by which weights they are scored afterwards."""
    return (*(code.tobytes() for code in wanted.codes), wanted.categories, wanted.filters, wanted.k)


def _span(numbers: np.ndarray) -> list[float]:
    """The lowest and the highest; nothing where there is none."""
    known = numbers[~np.isnan(numbers)]
    return [float(known.min()), float(known.max())] if len(known) else []


def _first(partition: Partition) -> tuple[str, str]:
    """Listing id and photo id of the first row that is not dead."""
    row = 0 if partition.alive is None else int(partition.alive_mask().argmax())
    return partition.listing_ids[row].as_py(), partition.photo_ids[row].as_py()
