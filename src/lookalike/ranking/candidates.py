"""The candidates of one query: the nearest rows, over several partitions, and what is known of each.

Enters: a scan job and the rows it found. Leaves: one array per question, in the order of the rows, whatever
partitions they lie in.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np

from lookalike.index.reader import Partition
from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.rescoring import expected_distances
from lookalike.ranking.scan import Nearest, ScanJob


class Candidates:
    """The m nearest rows of a query; `distance` i32[m] is their Hamming distance."""

    def __init__(self, job: ScanJob, nearest: Nearest) -> None:
        self.job, self.nearest = job, nearest
        self.distance = nearest.distance
        self._members = [
            (job.partitions[place], members, nearest.row[members])
            for place in np.unique(nearest.partition)
            for members in [np.flatnonzero(nearest.partition == place)]
        ]

    def __len__(self) -> int:
        return len(self.nearest)

    def without(self, listings: Collection[str], group: str | None) -> Candidates:
        """Those that are none of `listings` and not of `group`."""
        kept = [
            i
            for i, (listing, own) in enumerate(zip(self.listing_ids(), self.groups(), strict=True))
            if listing not in listings and own != group
        ]
        if len(kept) == len(self):
            return self
        found = self.nearest
        return Candidates(self.job, Nearest(found.distance[kept], found.partition[kept], found.row[kept]))

    def place(self, i: int) -> tuple[Partition, int]:
        """Partition and row of candidate `i`."""
        return self.job.partitions[self.nearest.partition[i]], int(self.nearest.row[i])

    def gather(self, ask: Callable[[Partition, np.ndarray], np.ndarray]) -> np.ndarray:
        """f64[m]: `ask(partition, rows)` answers for the rows of one partition."""
        answers = np.empty(len(self))
        for partition, members, rows in self._members:
            answers[members] = ask(partition, rows)
        return answers

    def expected_distances(self, query: EncodedQuery) -> np.ndarray:
        """f32[m]: the asymmetric distance of each candidate."""
        codes = np.empty((len(self), len(query.code)), np.uint8)
        for partition, members, rows in self._members:
            codes[members] = partition.codes[rows]
        return expected_distances(query.bit_probabilities, codes)

    def listing_ids(self) -> list[str]:
        return self._texts(lambda partition: partition.listing_ids)

    def groups(self) -> list[str]:
        return self._texts(lambda partition: partition.groups)

    def _texts(self, column: Callable[[Partition], object]) -> list[str]:
        texts = [""] * len(self)
        for partition, members, rows in self._members:
            found = column(partition).take(rows).to_pylist()  # type: ignore[attr-defined]
            for i, text in zip(members.tolist(), found, strict=True):
                texts[i] = text
        return texts
