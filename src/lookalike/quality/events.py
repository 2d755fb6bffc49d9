"""What shoppers saw and clicked: the table of events in a store, and what it says of the ranking.

Enters: rows that search processes have put down (`serving.events`), a Parquet file at a time. There are three kinds.
An *answer* row is a hit of an answer that was sampled, with the parts of its score; an *impression* says that a page
showed it, a *click* that somebody followed it. They meet by the answer's opaque id and the listing. Nothing is kept
of who asked, or of the photo. Leaves: click-through by rank and by blend, and the blend that would have ordered the
clicks best.

A click says less of a hit than of the order: what stands above is seen more. So the fit takes pairs alone: a hit that
was clicked is held to be better than those shown above it that were not ("click > skip above", Joachims, KDD 2002).
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import CorruptObject
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore

ANSWER, IMPRESSION, CLICK = "answer", "impression", "click"
SENT = (IMPRESSION, CLICK)
"""What clients send; answers are put down by the process itself."""
SCHEMA = pa.schema(
    [
        ("minute", pa.timestamp("s", "UTC")),
        ("kind", pa.utf8()),
        ("answer_id", pa.utf8()),
        ("listing_id", pa.utf8()),
        ("rank", pa.int32()),  # from 1, pages before included
        ("alpha", pa.float32()),  # of answers, as those that follow
        ("appearance", pa.float32()),
        ("aspects", pa.float32()),
        ("text", pa.bool_()),  # whether words stood beside the photo
        ("release", pa.utf8()),
    ]
)
_RANKS = 24
"""Ranks that a report names one by one."""
_STEPS = 21
_FEWEST_PAIRS = 200
"""Pairs below which no blend is fitted: the share of 200 is known to 7 points."""
_Z = 1.96


@dataclass(frozen=True, slots=True)
class Rate:
    """How many of the hits that were shown were clicked."""

    shown: int
    clicked: int

    def to_json(self) -> dict[str, Any]:
        """With the rate and its interval of 95 % (Wilson)."""
        n, p = max(self.shown, 1), self.clicked / max(self.shown, 1)
        middle, half = p + _Z**2 / (2 * n), _Z * np.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
        low, high = (max(0.0, middle + sign * half) / (1 + _Z**2 / n) for sign in (-1, 1))
        found = {"shown": self.shown, "clicked": self.clicked}
        return found | {"rate": round(p, 4), "from": round(float(low), 4), "to": round(float(high), 4)}


@dataclass(slots=True)
class _Shown:
    """The hits of one answer that somebody saw."""

    alpha: float
    text: bool
    parts: dict[str, tuple[int, float, float]] = field(default_factory=dict)
    """Listing -> rank, appearance, reward."""
    seen: set[str] = field(default_factory=set)
    clicked: set[str] = field(default_factory=set)


def read_events(store: ObjectStore) -> Iterator[pa.Table]:
    """The files of events, oldest first. Raises `CorruptObject` naming one that is damaged."""
    for info in store.list(keys.EVENTS):
        yield read_file(store, info.key)


def read_file(store: ObjectStore, key: str) -> pa.Table:
    """One file of events, as `SCHEMA`. Raises `CorruptObject` where it is damaged."""
    try:
        return pq.read_table(io.BytesIO(store.get(key))).select(SCHEMA.names).cast(SCHEMA)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise CorruptObject(key, f"{key}: this is no file of events: {error}") from error


def report(store: ObjectStore) -> dict[str, Any]:
    """Click-through of everything that the store has, as `lookalike evaluate --events` prints it."""
    return summary(read_events(store))


def summary(tables: Iterable[pa.Table]) -> dict[str, Any]:
    """The same of some files, in any order."""
    answers, unmatched = _collect(tables)
    seen = [answer for answer in answers.values() if answer.seen]
    by_rank: dict[int, list[bool]] = defaultdict(list)
    by_alpha: dict[float, list[bool]] = defaultdict(list)
    for answer in seen:
        for listing in answer.seen:
            rank, clicked = answer.parts[listing][0], listing in answer.clicked
            by_rank[rank].append(clicked)
            by_alpha[round(answer.alpha, 4)].append(clicked)
    every = [clicked for found in by_rank.values() for clicked in found]
    return {
        "answers": len(answers),
        "answers_seen": len(seen),
        "answers_clicked": sum(bool(answer.clicked) for answer in seen),
        "unmatched_events": unmatched,
        "all": _rate(every),
        "by_rank": {str(rank): _rate(by_rank[rank]) for rank in sorted(by_rank)[:_RANKS]},
        "by_blend": {f"{alpha:g}": _rate(by_alpha[alpha]) for alpha in sorted(by_alpha)},
        "blend": fit_blend(_pairs(seen)),
    }


def fit_blend(pairs: np.ndarray) -> dict[str, Any]:
    """The blend that orders most pairs rightly, of `pairs` f64[n, 3]: by how much the better one is ahead in appearance
    and in reward, and the blend that the answer had."""
    if len(pairs) < _FEWEST_PAIRS:
        return {"pairs": len(pairs), "needed": _FEWEST_PAIRS, "best": None}
    ahead, rewarded, had = pairs.T
    grid = np.linspace(0, 1, _STEPS)
    right = [_right(alpha * ahead + (1 - alpha) * rewarded) for alpha in grid]
    now = _right(had * ahead + (1 - had) * rewarded)
    best = int(np.argmax([share.mean() for share in right]))
    gain = right[best] - now
    margin = _Z * float(gain.std()) / np.sqrt(len(gain))
    return {
        "pairs": len(pairs),
        "now": round(float(now.mean()), 4),
        "best": round(float(grid[best]), 4),
        "then": round(float(right[best].mean()), 4),
        "gain_from": round(float(gain.mean()) - margin, 4),
        "gain_to": round(float(gain.mean()) + margin, 4),
        "by_blend": {
            f"{alpha:g}": round(float(share.mean()), 4) for alpha, share in zip(grid, right, strict=True)
        },
    }


def _collect(tables: Iterable[pa.Table]) -> tuple[dict[str, _Shown], int]:
    """Every answer by its id, and how many events belong to none: forged, or their answer was lost."""
    answers: dict[str, _Shown] = {}
    sent: list[tuple[str, str, str]] = []
    for table in tables:
        for row in table.to_pylist():
            if row["kind"] == ANSWER:
                answer = answers.setdefault(row["answer_id"], _Shown(row["alpha"], bool(row["text"])))
                answer.parts[row["listing_id"]] = (row["rank"], row["appearance"], row["aspects"])
            else:
                sent.append((row["kind"], row["answer_id"], row["listing_id"]))
    unmatched = 0
    for kind, answer_id, listing in sent:  # an event may lie in an earlier file than its answer
        found = answers.get(answer_id)
        if found is None or listing not in found.parts:
            unmatched += 1
            continue
        found.seen.add(listing)  # what was clicked was seen, whatever became of its impression
        if kind == CLICK:
            found.clicked.add(listing)
    return answers, unmatched


def _pairs(answers: list[_Shown]) -> np.ndarray:
    """f64[n, 3]: of each hit that was clicked against each seen above it that was not, what `fit_blend` takes."""
    found = [
        (better[1] - worse[1], better[2] - worse[2], answer.alpha)
        for answer in answers
        if not answer.text
        for listing in answer.clicked
        for better in (answer.parts[listing],)
        for other in answer.seen - answer.clicked
        for worse in (answer.parts[other],)
        if worse[0] < better[0]
    ]
    return np.array(found, np.float64).reshape(-1, 3)


def _right(ahead: np.ndarray) -> np.ndarray:
    """f64[n]: 1 where the better one is ahead, a half where they are equal."""
    found: np.ndarray = np.where(np.abs(ahead) < 1e-9, 0.5, ahead > 0)
    return found


def _rate(clicked: list[bool]) -> Mapping[str, Any]:
    return Rate(len(clicked), sum(clicked)).to_json()
