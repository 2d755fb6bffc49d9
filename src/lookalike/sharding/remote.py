"""`Listings` of an index whose shards are held by rankers.

Every shard answers with its own nearest listings; the nearest of all are among these, so the merge is exact: by
distance, ties by listing id, as one process orders them. A shard that nobody answers for within the deadline is
missing, and its candidates say so.
"""

from __future__ import annotations

import json
import logging
from collections import Counter, OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.columns import SHOWN, own_column, own_columns
from lookalike.errors import ReleaseError, ServiceBusy
from lookalike.index.likeness import Likeness
from lookalike.index.reader import Memory
from lookalike.ranking.listings import Candidates, IndexedListing, Summary, Wanted
from lookalike.sharding import wire
from lookalike.sharding.fleet import Ask, Fleet
from lookalike.storage.artefacts import Manifest, Ref

_LOG = logging.getLogger("lookalike.serving")
_REMEMBERED = 1000
"""Listings found by id, which a search and the page behind it ask for several times in a row."""


class RemoteListings:
    """`listings.Listings` on rankers."""

    def __init__(self, fleet: Fleet, index: Ref, manifest: Manifest) -> None:
        """Waits until the rankers hold all shards. Raises `ServiceBusy` where they do not, `ReleaseError` where what
        they hold is not one index."""
        self._fleet, self._index = fleet, index
        self.shards = int(manifest.meta["shards"])
        fleet.wait_for(index, self.shards)
        answers = fleet.ask([Ask(index, shard, "/v1/summary") for shard in range(self.shards)])
        parts = [wire.read_summary(json.loads(body)) for body in answers if body is not None]
        if len(parts) < self.shards:
            raise ServiceBusy(f"{index}: not every ranker says what its shard holds")
        self.summary = replace(merge_summaries(parts), likeness=Likeness.from_meta(manifest.meta))
        self._found: OrderedDict[str, tuple[IndexedListing, np.ndarray]] = OrderedDict()
        self._lock = Lock()

    def nearest(self, wanted: Sequence[Wanted]) -> list[Candidates]:
        body = wire.wanted_bytes(wanted)
        answers = self._fleet.ask(
            [
                Ask(self._index, shard, "/v1/nearest", body=body, content_type=wire.CONTENT_TYPE)
                for shard in range(self.shards)
            ]
        )
        batches = [None if answer is None else _understood(answer, wanted) for answer in answers]
        missing = tuple(shard for shard, found in enumerate(batches) if found is None)
        found = [each for each in batches if each is not None]
        if not found:
            raise ServiceBusy("no ranker answers for any shard")
        return [
            RemoteCandidates(w, merge_nearest(w, parts), missing)
            for w, parts in zip(wanted, zip(*found, strict=True), strict=True)
        ]

    def find(self, listing_id: str) -> tuple[IndexedListing, np.ndarray] | None:
        """Any shard may have it, so all are asked. Raises `ServiceBusy` where it may be in one that is missing."""
        with self._lock:
            if listing_id in self._found:
                self._found.move_to_end(listing_id)
                return self._found[listing_id]
        parameters = {"listing_id": listing_id}
        asks = [Ask(self._index, shard, "/v1/listing", parameters) for shard in range(self.shards)]
        answers = self._fleet.ask(asks)
        for answer in answers:
            found = None if answer is None else wire.read_listing(json.loads(answer))
            if found is not None:
                with self._lock:
                    self._found[listing_id] = found
                    if len(self._found) > _REMEMBERED:
                        self._found.popitem(last=False)
                return found
        if None in answers:
            raise ServiceBusy(f"listing {listing_id[:100]} may be in a shard that no ranker answers for")
        return None

    def memory(self) -> Memory:
        return Memory(0, 0)


def _understood(answer: bytes, wanted: Sequence[Wanted]) -> list[pa.RecordBatch] | None:
    """The answer of one shard; None where a ranker of another version says what we cannot read."""
    try:
        return wire.read_found(answer, wanted)
    except wire.WireError as error:
        _LOG.error("a ranker's answer: %s", error)
        return None


class RemoteCandidates:
    """`listings.Candidates` as rankers described them."""

    def __init__(
        self, wanted: Wanted, rows: pa.RecordBatch, missing: tuple[int, ...], near: np.ndarray | None = None
    ) -> None:
        self._wanted, self._rows, self.missing, self.near = wanted, rows, missing, near
        self.distance: np.ndarray = rows.column("distance").to_numpy()

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def take(self, places: Sequence[int]) -> RemoteCandidates:
        at = pa.array(places, pa.int64())
        near = None if self.near is None else self.near[at.to_numpy()]
        return RemoteCandidates(self._wanted, self._rows.take(at), self.missing, near)

    def listing_ids(self) -> list[str]:
        texts: list[str] = self._rows.column("listing_id").to_pylist()
        return texts

    def groups(self) -> list[str]:
        texts: list[str] = self._rows.column("group").to_pylist()
        return texts

    def categories(self) -> list[str]:
        return [self._wanted.categories[place] for place in self._rows.column("category").to_pylist()]

    def prices(self) -> np.ndarray:
        prices: np.ndarray = wire.shown_column(self._rows, "price").to_numpy(zero_copy_only=False)
        return prices

    def numbers(self, name: str) -> np.ndarray:
        column = wire.own_column if own_column(name) else wire.shown_column
        numbers: np.ndarray = column(self._rows, name).to_numpy(zero_copy_only=False)
        return numbers

    def expected_distances(self) -> np.ndarray:
        distances: np.ndarray = self._rows.column("expected").to_numpy()
        return distances

    def chances(self, aspect: str, probabilities: Mapping[str, float]) -> np.ndarray:
        lists = wire.aspect_column(self._rows, aspect)
        weights = np.array([probabilities.get(v, 0.0) for v in lists.flatten().to_pylist()], np.float64)
        return np.bincount(pc.list_parent_indices(lists).to_numpy(), weights, minlength=len(self))

    def listings(self, aspects: Collection[str]) -> list[IndexedListing]:
        stated = {name: wire.aspect_column(self._rows, name).to_pylist() for name in aspects}
        shown = {column.name: wire.shown_column(self._rows, column.name).to_pylist() for column in SHOWN}
        named = own_columns(self._wanted.own)
        own = {column.called: wire.own_column(self._rows, column.name).to_pylist() for column in named}
        rows = self._rows.select(["listing_id", "photo_id", "photo_ordinal", "category", "group"]).to_pylist()
        return [
            IndexedListing(
                listing_id=row["listing_id"],
                photo_id=row["photo_id"],
                photo_ordinal=row["photo_ordinal"],
                category=self._wanted.categories[row["category"]],
                group=row["group"],
                columns={name: values[i] for name, values in shown.items()},
                extra={name: values[i] for name, values in own.items() if values[i] is not None},
                aspects={name: tuple(values[i]) for name, values in stated.items() if values[i]},
            )
            for i, row in enumerate(rows)
        ]


def merge_nearest(wanted: Wanted, parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """The query's k nearest of all shards, by distance, ties by listing id."""
    rows = pa.concat_batches(parts)
    distance: np.ndarray = rows.column("distance").to_numpy()
    kept = np.arange(len(distance))
    if len(distance) > wanted.k:
        kept = np.flatnonzero(distance <= np.partition(distance, wanted.k - 1)[wanted.k - 1])
    ids = rows.column("listing_id").take(pa.array(kept)).to_pylist()
    nearest = distance[kept].tolist()
    order = sorted(range(len(kept)), key=lambda i: (nearest[i], ids[i]))[: wanted.k]
    return rows.take(pa.array(kept[order]))


def merge_summaries(parts: Sequence[Summary]) -> Summary:
    """The summary of an index from those of its shards, in their order. Raises `ReleaseError` where they differ."""
    first = parts[0]
    for part in parts:
        if (part.name, part.delta, part.release, part.bits, part.preset) != (
            first.name,
            first.delta,
            first.release,
            first.bits,
            first.preset,
        ):
            raise ReleaseError(f"{part.name}: its shards are not of one index")
    rows: Counter[str] = Counter()
    stated: dict[str, frozenset[str]] = {}
    values: dict[str, Counter[str]] = {}
    examples: dict[str, tuple[str, str]] = {}
    for part in parts:
        rows.update(part.rows)
        for category, names in part.stated.items():
            stated[category] = stated.get(category, frozenset()) | names
        for name, found in part.values.items():
            values.setdefault(name, Counter()).update(found)
        for category, example in part.examples.items():
            examples[category] = min(example, examples.get(category, example))
    own: dict[str, list[float]] = {}
    for part in parts:
        for name, span in part.own.items():
            own.setdefault(name, []).extend(span or ())
    prices = [price for part in parts if part.prices is not None for price in part.prices]
    return Summary(
        name=first.name,
        release=first.release,
        bits=first.bits,
        preset=first.preset,
        rows={category: rows[category] for category in sorted(rows)},
        stated=stated,
        values=values,
        prices=(min(prices), max(prices)) if prices else None,
        examples={category: examples[category] for category in sorted(examples)},
        delta=first.delta,
        own={name: (min(found), max(found)) if found else None for name, found in sorted(own.items())},
    )
