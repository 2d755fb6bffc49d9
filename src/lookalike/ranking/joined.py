"""Candidates of several scans as one: each listing once, nearest first, equal distances by listing id."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from lookalike.ranking.listings import Candidates, IndexedListing


def joined(found: Sequence[Candidates]) -> Candidates:
    """The candidates of all of `found`, at least one; of a listing that several have the nearest."""
    if len(found) == 1:
        return found[0]
    distances = np.concatenate([each.distance for each in found])
    ids = [listing_id for each in found for listing_id in each.listing_ids()]
    part = np.repeat(np.arange(len(found)), [len(each) for each in found])
    place = np.concatenate([np.arange(len(each)) for each in found])
    seen, kept = set[str](), list[int]()
    for i in sorted(range(len(ids)), key=lambda i: (distances[i], ids[i])):
        if ids[i] not in seen:
            seen.add(ids[i])
            kept.append(i)
    return JoinedCandidates(found, part[kept], place[kept])


class JoinedCandidates:
    """`listings.Candidates` at given places of several others."""

    def __init__(self, parts: Sequence[Candidates], part: np.ndarray, place: np.ndarray) -> None:
        """Candidate i is that at `place[i]` of `parts[part[i]]`."""
        self._parts, self._part, self._place = parts, part, place
        self.distance = self._numbers(lambda each: each.distance).astype(np.int32)
        self.near = None
        if all(each.near is not None for each in parts):
            self.near = self._numbers(lambda each: each.near)

    @property
    def missing(self) -> tuple[int, ...]:
        return tuple(sorted({shard for each in self._parts for shard in each.missing}))

    def __len__(self) -> int:
        return len(self._place)

    def take(self, places: Sequence[int]) -> JoinedCandidates:
        at = np.asarray(places, np.int64)
        return JoinedCandidates(self._parts, self._part[at], self._place[at])

    def listing_ids(self) -> list[str]:
        return self._things(lambda each: each.listing_ids())

    def groups(self) -> list[str]:
        return self._things(lambda each: each.groups())

    def categories(self) -> list[str]:
        return self._things(lambda each: each.categories())

    def prices(self) -> np.ndarray:
        return self._numbers(lambda each: each.prices())

    def numbers(self, name: str) -> np.ndarray:
        return self._numbers(lambda each: each.numbers(name))

    def expected_distances(self) -> np.ndarray:
        return self._numbers(lambda each: each.expected_distances()).astype(np.float32)

    def chances(self, aspect: str, probabilities: Mapping[str, float]) -> np.ndarray:
        return self._numbers(lambda each: each.chances(aspect, probabilities))

    def listings(self, aspects: Collection[str]) -> list[IndexedListing]:
        return self._things(lambda each: each.listings(aspects))

    def _numbers(self, ask: Callable[[Candidates], np.ndarray | None]) -> np.ndarray:
        answers = np.empty(len(self))
        for number, each in enumerate(self._parts):
            if len(members := np.flatnonzero(self._part == number)):
                answers[members] = ask(each.take(self._place[members].tolist()))
        return answers

    def _things(self, ask: Callable[[Candidates], list[Any]]) -> list[Any]:
        answers: list[Any] = [None] * len(self)
        for number, each in enumerate(self._parts):
            if len(members := np.flatnonzero(self._part == number).tolist()):
                found = ask(each.take(self._place[members].tolist()))
                for member, thing in zip(members, found, strict=True):
                    answers[member] = thing
        return answers
