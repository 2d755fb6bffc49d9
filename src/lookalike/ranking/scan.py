"""The scan of one or many queries: each over its own partitions, reads shared where queries meet.

Enters: per query a code and the partitions it opens, with the rows it may return. Leaves: its nearest rows over all
of them, by distance, ties by listing id. A scan is bound by memory bandwidth, so when several queries open the same
partition they are scanned together, and each code is read once for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Nearest:
    """The nearest rows of one query, nearest first; `partition` i32[m] counts within the job's partitions."""

    distance: np.ndarray
    partition: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.distance)


def scan(scanner: Scanner, jobs: Sequence[ScanJob]) -> list[Nearest]:
    """Exact nearest rows of every job."""
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
    """The job's k nearest of all its partitions."""
    if not parts:
        return _NOTHING
    distance = np.concatenate([part.distance for part in parts])
    partition = np.concatenate([part.partition for part in parts])
    row = np.concatenate([part.row for part in parts])
    if len(distance) > job.k:
        kept = np.flatnonzero(distance <= np.partition(distance, job.k - 1)[job.k - 1])
        distance, partition, row = distance[kept], partition[kept], row[kept]
    ids = [job.partitions[p].listing_ids[r].as_py() for p, r in zip(partition, row.tolist(), strict=True)]
    order = sorted(range(len(ids)), key=lambda i: (distance[i], ids[i]))[: job.k]
    return Nearest(distance[order], partition[order], row[order])


def _places(job: ScanJob) -> tuple[object, ...]:
    return (*map(id, job.partitions), *map(id, job.allowed))


_NOTHING = Nearest(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))
