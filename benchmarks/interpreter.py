"""Ranking while another thread keeps Python busy, by how long a thread may go on while others wait.

    python -m benchmarks.interpreter --store .demo/store --json interpreter.json

The busy thread stands for the event loop of a search process to which a crowd connects. Photos of the catalogue are
encoded beforehand; measured is the time of route, scan and ranking of one at a time with Python's own 5 ms and with
the turns of a search process (`lookalike.serving.interpreter`), in turns, and what the busy thread gets done meanwhile.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.grown import live_photos, open_live
from benchmarks.report import entries, machine, write
from lookalike.imaging import photos
from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.request import Query, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.serving.interpreter import TURN_SECONDS
from lookalike.storage.artefacts import fetch

ROUNDS = 15
PYTHONS_OWN = 0.005
TARGETS = {"rank_ms: busy, ours / Python's": 0.75}
PEERS = {"rank_ms: busy, ours / Python's": "rank_ms: busy, Python's"}


class Busy(threading.Thread):
    """Counts until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.steps, self.stopped = 0, False

    def run(self) -> None:
        while not self.stopped:
            self.steps += 1


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="a store with something live, such as the demo's")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    with tempfile.TemporaryDirectory(prefix="interpreter-") as work:
        results = measure(options.store, Path(work))
    write(
        options.json, before, list(entries(results, TARGETS, PEERS)), data={"store": options.store, "seed": 0}
    )


def measure(uri: str, work: Path) -> dict[str, Any]:
    store, live, _ = open_live(uri, work)
    searcher = open_searcher(fetch(store, live.release, work), fetch(store, live.index, work))
    side = searcher.card.preset.resize
    squares = [photos.load_square(photo, side) for photo in live_photos(store, live.index, work, 20)]
    queries = searcher.encode([Query(photo=square) for square in squares])
    ranked(searcher, queries)
    alone = statistics.median(ranked(searcher, queries))
    found: dict[float, list[float]] = {PYTHONS_OWN: [], TURN_SECONDS: []}
    done: dict[float, list[float]] = {PYTHONS_OWN: [], TURN_SECONDS: []}
    busy, as_it_was = Busy(), sys.getswitchinterval()
    busy.start()
    try:
        for _ in range(ROUNDS):
            for turn in found:
                sys.setswitchinterval(turn)
                steps, started = busy.steps, time.perf_counter()
                found[turn] += ranked(searcher, queries)
                done[turn].append((busy.steps - steps) / (time.perf_counter() - started))
    finally:
        busy.stopped = True
        sys.setswitchinterval(as_it_was)
    theirs, ours = (statistics.median(found[turn]) for turn in (PYTHONS_OWN, TURN_SECONDS))
    return {
        "rank_ms": {
            "alone": round(alone, 2),
            "busy, Python's": round(theirs, 2),
            "busy, ours": round(ours, 2),
            "busy, ours / Python's": round(ours / theirs, 3),
        },
        "busy thread": {
            "done, ours / Python's": round(
                statistics.median(done[TURN_SECONDS]) / statistics.median(done[PYTHONS_OWN]), 3
            )
        },
    }


def ranked(searcher: Searcher, queries: Sequence[EncodedQuery]) -> list[float]:
    """Milliseconds of each query, one at a time."""
    times = []
    for query in queries:
        started = time.perf_counter()
        searcher.rank([query], [SearchRequest()])
        times.append((time.perf_counter() - started) * 1e3)
    return times


if __name__ == "__main__":
    main()
