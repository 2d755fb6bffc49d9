"""The scan of one or many queries: each over its own partitions, reads shared where queries meet.

Enters: per query a code and the partitions it opens, with the rows it may return. Leaves: its nearest listings over
all of them, each by its nearest photo, by distance, ties by listing id. A scan is bound by memory bandwidth, so when
several queries open the same partition they are scanned together, and each code is read once for all of them.

A row is a photo, so the k nearest rows may be fewer listings. As many rows are asked for as k listings have on average,
and twice as many again while some of them turn out to be of one listing: the first photo of a listing among all rows in
order is its nearest, so what is left of them is exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lookalike.index.hamming import Scanner
from lookalike.index.reader import Partition


@dataclass(frozen=True, slots=True)
class ScanJob:
    """One query: its `code` u8[bits // 8], and for each partition a bitmap of allowed rows (None: all)."""

    code: np.ndarray
    partitions: tuple[Partition, ...]
    allowed: tuple[np.ndarray | None, ...]
    k: int
    """Listings."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest rows of one query, nearest first, one for each listing; `partition` i32[m] counts within the job's
    partitions."""

    distance: np.ndarray
    partition: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.distance)


def scan(scanner: Scanner, jobs: Sequence[ScanJob]) -> list[Nearest]:
    """Exact nearest listings of every job, each by its nearest row."""
    found: list[Nearest] = [_NOTHING] * len(jobs)
    rows = {number: _rows_of(job) for number, job in enumerate(jobs)}
    while rows:
        asked = [replace(jobs[number], k=k) for number, k in rows.items()]
        again = {}
        for (number, k), nearest in zip(rows.items(), _nearest_rows(scanner, asked), strict=True):
            found[number] = _one_of_each_listing(jobs[number], nearest)
            if len(found[number]) < jobs[number].k and len(nearest) == k:
                again[number] = 2 * k
        rows = again
    return found


def _rows_of(job: ScanJob) -> int:
    """How many rows are asked for first: as many as the job's k listings have on average."""
    rows, listings = sum(map(len, job.partitions)), sum(partition.listings for partition in job.partitions)
    return max(job.k, rows) if job.k >= listings else job.k * -(-rows // listings)


def _one_of_each_listing(job: ScanJob, nearest: Nearest) -> Nearest:
    """The job's k first listings among these rows, each by its first row."""
    return (
        nearest if all(partition.firsts is None for partition in job.partitions) else _distinct(job, nearest)
    )


def nearest_of_any(jobs: Sequence[ScanJob], found: Sequence[Nearest]) -> Nearest:
    """The k nearest listings of several scans of the same rows, each by the photo that is nearest in any of them."""
    if len(jobs) == 1:
        return found[0]
    return _distinct(jobs[0], _merge(replace(jobs[0], k=sum(map(len, found))), found))


def _distinct(job: ScanJob, nearest: Nearest) -> Nearest:
    keys = np.empty((len(nearest), 2), np.int64)
    keys[:, 0] = nearest.partition
    for place in np.unique(nearest.partition).tolist():
        members = nearest.partition == place
        keys[members, 1] = job.partitions[place].first_of(nearest.row[members])
    _, kept = np.unique(keys, axis=0, return_index=True)
    kept = np.sort(kept)[: job.k]
    return Nearest(nearest.distance[kept], nearest.partition[kept], nearest.row[kept])


def _nearest_rows(scanner: Scanner, jobs: Sequence[ScanJob]) -> list[Nearest]:
    """The `k` nearest rows of every job."""
    alike: dict[tuple[object, ...], list[int]] = {}
    for number, job in enumerate(jobs):
        alike.setdefault(_places(job), []).append(number)
    if len(alike) == 1:
        return _together(scanner, jobs)
    return _by_partition(scanner, jobs)


def _together(scanner: Scanner, jobs: Sequence[ScanJob]) -> list[Nearest]:
    """All jobs open the same partitions: one call."""
    first, k = jobs[0], max(job.k for job in jobs)
    if not first.partitions:
        return [_NOTHING] * len(jobs)
    codes = np.stack([job.code for job in jobs])
    found = scanner.top_k(codes, first.partitions, k, allowed=first.allowed)
    return [
        Nearest(found.distance[i, : job.k], found.partition[i, : job.k], found.row[i, : job.k])
        for i, job in enumerate(jobs)
    ]


def _by_partition(scanner: Scanner, jobs: Sequence[ScanJob]) -> list[Nearest]:
    """Each partition is scanned once for all the jobs that open it with the same bitmap, then merged per job."""
    sharing: dict[
        tuple[int, int], list[tuple[int, int]]
    ] = {}  # (partition, bitmap) -> (job, place in the job)
    for number, job in enumerate(jobs):
        for place, (partition, allowed) in enumerate(zip(job.partitions, job.allowed, strict=True)):
            sharing.setdefault((id(partition), id(allowed)), []).append((number, place))
    parts: list[list[Nearest]] = [[] for _ in jobs]
    for members in sharing.values():
        number, place = members[0]
        partition, allowed = jobs[number].partitions[place], jobs[number].allowed[place]
        codes = np.stack([jobs[number].code for number, _ in members])
        k = max(jobs[number].k for number, _ in members)
        found = scanner.top_k(codes, [partition], k, allowed=[allowed])
        for i, (number, place) in enumerate(members):
            distance = found.distance[i]
            parts[number].append(Nearest(distance, np.full(len(distance), place, np.int32), found.row[i]))
    return [_merge(job, found) for job, found in zip(jobs, parts, strict=True)]


def _merge(job: ScanJob, parts: Sequence[Nearest]) -> Nearest:
    """The job's k nearest rows of all its partitions."""
    if not parts:
        return _NOTHING
    distance = np.concatenate([part.distance for part in parts])
    partition = np.concatenate([part.partition for part in parts])
    row = np.concatenate([part.row for part in parts])
    if len(distance) > job.k:
        kept = np.flatnonzero(distance <= np.partition(distance, job.k - 1)[job.k - 1])
        distance, partition, row = distance[kept], partition[kept], row[kept]
    ids = [job.partitions[p].listing_ids[r].as_py() for p, r in zip(partition, row.tolist(), strict=True)]
    order = sorted(range(len(ids)), key=lambda i: (distance[i], ids[i], row[i]))[: job.k]
    return Nearest(distance[order], partition[order], row[order])


def _places(job: ScanJob) -> tuple[object, ...]:
    return (*map(id, job.partitions), *map(id, job.allowed))


_NOTHING = Nearest(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
