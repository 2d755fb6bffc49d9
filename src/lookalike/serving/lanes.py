"""Which waiting searches are run together next: fair to clients, and quick ones do not wait for long ones.

Enters: work, each of one client. Leaves: batches. A batch takes as long as its longest work, so each holds one kind: a
search by a listing takes milliseconds, a photo has to be encoded, and the parts of a cluttered photo are several. What
waits of one client and kind is a flow, and the flow comes next that has had least, by what its work costs (start-time
fair queueing, Goyal et al. 1996). So whoever sends much waits for himself, and others hardly wait for him.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, Protocol, TypeVar

_REMEMBERED = 1000
"""Flows whose costs are kept although nothing of them waits."""


class Kind(Enum):
    """What a search has to do."""

    QUICK = "nothing to encode"
    WHOLE = "a photo"
    PARTS = "parts of a cluttered photo"


_COSTS = {Kind.QUICK: 0.25, Kind.WHOLE: 1.0, Kind.PARTS: 1.0}
"""What a query of each kind costs, in photos."""


class Work(Protocol):
    """What of a search is done in one batch."""

    @property
    def kind(self) -> Kind: ...

    @property
    def client(self) -> str: ...

    @property
    def searcher(self) -> object:
        """Work of one batch is of one searcher."""

    @property
    def size(self) -> int:
        """Queries in it."""


W = TypeVar("W", bound=Work)


@dataclass(slots=True)
class _Flow(Generic[W]):
    """What of one client and one kind waits."""

    had: float
    """What its work has cost, counted from where others stood when it came."""
    waiting: deque[W] = field(default_factory=deque)


class Lanes(Generic[W]):
    """Work that waits. Not for several threads at once."""

    def __init__(self) -> None:
        self._flows: dict[tuple[str, Kind], _Flow[W]] = {}
        self._had: dict[tuple[str, Kind], float] = {}
        """Of flows with nothing waiting: those who have had more than the one served last."""
        self._stand = 0.0
        """What the flow served last had had before."""

    def add(self, work: W) -> None:
        """Put work behind its client's of its kind."""
        key = work.client, work.kind
        flow = self._flows.get(key)
        if flow is None:
            flow = self._flows[key] = _Flow(max(self._stand, self._had.pop(key, 0.0)))
        flow.waiting.append(work)

    def next_batch(self, limits: Mapping[Kind, int]) -> list[W]:
        """Work of one kind and one searcher, of `limits` queries at most or of one work; nothing where none waits."""
        if not self._flows:
            return []
        first = min(self._flows, key=self._had_by)
        self._stand, kind = self._had_by(first), first[1]
        batch: list[W] = []
        room = limits[kind]
        while same := [key for key in self._flows if key[1] is kind]:
            key = min(same, key=self._had_by)
            flow = self._flows[key]
            work = flow.waiting[0]
            if batch and (work.size > room or work.searcher is not batch[0].searcher):
                break
            batch.append(flow.waiting.popleft())
            room -= work.size
            flow.had += work.size * _COSTS[kind]
            if not flow.waiting:
                self._leave(key)
        return batch

    def _had_by(self, key: tuple[str, Kind]) -> float:
        return self._flows[key].had

    def _leave(self, key: tuple[str, Kind]) -> None:
        """Nothing of this flow waits any more; where nothing of anybody does, all begin anew."""
        self._had[key] = self._flows.pop(key).had
        if not self._flows:
            self._had.clear()
        elif len(self._had) > _REMEMBERED:
            self._had = {key: had for key, had in self._had.items() if had > self._stand}
