"""The candidates of one query out of mapped partitions: the nearest rows, and what is known of each.

Enters: a scan job and the rows it found. Leaves: one array per question, in the order of the rows, whatever
partitions they lie in. Nothing is read of a row before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from lookalike.columns import SHOWN, Column, own_columns
from lookalike.index.reader import Partition
from lookalike.index.values import values_at
from lookalike.ranking.listings import IndexedListing
from lookalike.ranking.rescoring import Rescorer
from lookalike.ranking.scan import Nearest, ScanJob
from lookalike.ranking.stated import StatedAspects


class MappedCandidates:
    """`listings.Candidates` of rows that are mapped into this process."""

    missing: tuple[int, ...] = ()

    def __init__(
        self,
        job: ScanJob,
        nearest: Nearest,
        weights: Sequence[np.ndarray],
        stated: Callable[[Partition], StatedAspects],
        near: np.ndarray | None = None,
    ) -> None:
        self.distance, self.near = nearest.distance, near
        self._job, self._nearest, self._weights, self._stated = job, nearest, weights, stated
        self._members = list(_by_partition(job, nearest))

    def __len__(self) -> int:
        return len(self._nearest)

    def take(self, places: Sequence[int]) -> MappedCandidates:
        at, found = np.asarray(places, np.int64), self._nearest
        nearest = Nearest(found.distance[at], found.partition[at], found.row[at])
        near = None if self.near is None else self.near[at]
        return MappedCandidates(self._job, nearest, self._weights, self._stated, near)

    def listing_ids(self) -> list[str]:
        return self._things(lambda partition, rows: values_at(partition.listing_ids, rows))

    def groups(self) -> list[str]:
        return self._things(lambda partition, rows: values_at(partition.groups, rows))

    def prices(self) -> np.ndarray:
        return self._gather(lambda partition, rows: partition.prices[rows])

    def numbers(self, name: str) -> np.ndarray:
        return self._gather(lambda partition, rows: numbers_of(partition, name, rows))

    def chances(self, aspect: str, probabilities: Mapping[str, float]) -> np.ndarray:
        return self._gather(lambda p, rows: self._stated(p).chances(aspect, probabilities, rows))

    def expected_distances(self) -> np.ndarray:
        rescorers = [Rescorer(weights) for weights in self._weights]
        found = [self._gather(lambda p, rows, r=r: r.distances(p.codes, rows)) for r in rescorers]  # type: ignore[misc]
        nearest: np.ndarray = np.min(found, axis=0).astype(np.float32)
        return nearest

    def listings(self, aspects: Collection[str]) -> list[IndexedListing]:
        own = own_columns(name for partition, _, _ in self._members for name in partition.columns)
        return [
            IndexedListing(
                listing_id=listing_id,
                photo_id=photo_id,
                photo_ordinal=ordinal,
                category=category,
                group=group,
                aspects=stated,
                columns=columns,
                extra={name: said for name, said in extra.items() if said is not None},
            )
            for listing_id, photo_id, ordinal, category, group, stated, columns, extra in zip(
                self.listing_ids(),
                self._things(lambda partition, rows: values_at(partition.photo_ids, rows)),
                self.photo_ordinals().tolist(),
                self.categories(),
                self.groups(),
                self._things(lambda partition, rows: self._stated(partition).of_rows(rows, aspects)),
                self._records({column.name: column for column in SHOWN}),
                self._records({column.called: column for column in own}),
                strict=True,
            )
        ]

    def photo_ordinals(self) -> np.ndarray:
        """i32[m]: which photo of its listing each candidate is."""
        return self._gather(lambda partition, rows: partition.photo_ordinals(rows)).astype(np.int32)

    def shown(self, column: Column) -> pa.Array:
        """What each candidate, of which there must be some, states in a column; null where it states nothing."""
        if not any(column.name in partition.columns for partition, _, _ in self._members):
            return pa.nulls(len(self), column.type)
        return self.column(lambda partition, rows: shown_of(partition, column, rows))

    def categories(self) -> list[str]:
        """The category of each candidate."""
        return [self._job.partitions[place].category for place in self._nearest.partition.tolist()]

    def _records(self, columns: Mapping[str, Column]) -> list[dict[str, Any]]:
        """What each candidate states in these columns, by the names that they have here."""
        if not (len(self) and columns):
            return [{} for _ in range(len(self))]
        stated = [
            self._things(lambda partition, rows, name=column.name: partition.values(name, rows))  # type: ignore[misc]
            for column in columns.values()
        ]
        return [dict(zip(columns, values, strict=True)) for values in zip(*stated, strict=True)]

    def column(self, ask: Callable[[Partition, np.ndarray], pa.Array]) -> pa.Array:
        """What `ask(partition, rows)` says of the rows of each partition, in the order of the candidates, of which
        there must be some."""
        parts = [ask(partition, rows) for partition, _, rows in self._members]
        if len(parts) == 1:
            return parts[0]
        return pa.concat_arrays(parts).take(self._order)

    @cached_property
    def _order(self) -> pa.Array:
        """Where each candidate is among the rows of one partition after another."""
        return pa.array(np.argsort(np.concatenate([members for _, members, _ in self._members])))

    def _gather(self, ask: Callable[[Partition, np.ndarray], np.ndarray]) -> np.ndarray:
        """f64[m]: `ask(partition, rows)` answers for the rows of one partition."""
        answers = np.empty(len(self))
        for partition, members, rows in self._members:
            answers[members] = ask(partition, rows)
        return answers

    def _things(self, ask: Callable[[Partition, np.ndarray], list[Any]]) -> list[Any]:
        """What `ask(partition, rows)` says of the rows of each partition, in the order of the candidates."""
        if len(self._members) == 1:
            return ask(self._members[0][0], self._members[0][2])
        answers: list[Any] = [None] * len(self)
        for partition, members, rows in self._members:
            for member, thing in zip(members.tolist(), ask(partition, rows), strict=True):
                answers[member] = thing
        return answers


def _by_partition(job: ScanJob, nearest: Nearest) -> Iterator[tuple[Partition, np.ndarray, np.ndarray]]:
    """Each partition that has some of the nearest rows: their places among them, and their numbers in it."""
    if len(nearest) and (nearest.partition == nearest.partition[0]).all():
        yield job.partitions[nearest.partition[0]], np.arange(len(nearest)), nearest.row
        return
    for place in np.unique(nearest.partition):
        members = np.flatnonzero(nearest.partition == place)
        yield job.partitions[place], members, nearest.row[members]


def listing_of(partition: Partition, row: int, stated: StatedAspects) -> IndexedListing:
    """One row of a partition, with all its aspects."""
    rows = np.array([row])
    return IndexedListing(
        listing_id=partition.listing_ids[row].as_py(),
        photo_id=partition.photo_ids[row].as_py(),
        photo_ordinal=int(partition.photo_ordinals(rows)[0]),
        category=partition.category,
        group=partition.groups[row].as_py(),
        aspects=stated.of_rows(rows)[0],
        columns={column.name: shown_of(partition, column, rows)[0].as_py() for column in SHOWN},
        extra={
            column.called: said
            for column in own_columns(partition.columns)
            if (said := shown_of(partition, column, rows)[0].as_py()) is not None
        },
    )


def shown_of(partition: Partition, column: Column, rows: np.ndarray) -> pa.Array:
    """What the listings of these rows of a partition state in a column, by the column's own type."""
    found = partition.column(column.name, rows)
    return pa.nulls(len(rows), column.type) if found is None else found.cast(column.type)


def numbers_of(partition: Partition, name: str, rows: np.ndarray) -> np.ndarray:
    """f64[m]: what the listings of these rows state in a column of numbers; NaN where they state none."""
    found = partition.column(name, rows)
    if found is None:
        return np.full(len(rows), np.nan)
    numbers: np.ndarray = found.to_numpy(zero_copy_only=False)
    return numbers
