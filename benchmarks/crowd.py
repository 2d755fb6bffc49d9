"""Shoppers beside one client who sends many photos at once: what do they wait?

    python -m benchmarks.crowd --store .demo/store --seconds 30 --json crowd.json

The process and the shoppers are those of `benchmarks.soak`. First they are alone; then another client, with the same
key from another address, keeps 8 photos asked for at any time, then 32, as a job that looks up a whole catalogue would.
Clients take turns (`lookalike.serving.lanes`), so shoppers should wait for some of that crowd and not for all of it.
"""

from __future__ import annotations

import multiprocessing
import random
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.grown import Grown
from benchmarks.search_load import serving
from benchmarks.soak import CLIENTS, FOREIGN, Seen, ask, conduct, shop

CROWDS = (0, 8, 32)
TARGETS = {
    "shoppers: p99 beside 32 / alone": 2.0,
    "crowd of 32: failed": 0.0,
}
PEERS = {"shoppers: p99 beside 32 / alone": "crowd of 0: p99_ms"}


def main() -> None:
    conduct(__doc__, measure, TARGETS, PEERS, listings=20_000, seconds=30)


def measure(grown: Grown, photos: Sequence[bytes], seconds: float) -> dict[str, Any]:
    """What shoppers wait beside each crowd, for `seconds` each."""
    results: dict[str, Any] = {}
    with (
        serving(grown, 0, keys=True) as port,
        multiprocessing.get_context("spawn").Pool(1) as pool,
    ):
        for photo in photos[:4]:
            ask(port, "POST", "/v1/search", photo)
        start, stop, seen = time.monotonic(), threading.Event(), Seen()
        shoppers = [
            threading.Thread(target=shop, args=(port, photos, number, start, stop, seen))
            for number in range(CLIENTS)
        ]
        for thread in shoppers:
            thread.start()
        time.sleep(2)
        for size in CROWDS:
            first = time.monotonic() - start
            answered, failed = pool.apply(crowd, (port, photos, size, seconds))
            took = seen.milliseconds(first, first + seconds)
            results[f"crowd of {size}"] = {
                "answered": answered,
                "failed": failed,
                "shoppers": len(took),
                "p50_ms": round(float(np.median(took)), 1),
                "p99_ms": round(float(np.percentile(took, 99)), 1),
            }
        stop.set()
        for thread in shoppers:
            thread.join(60)
    alone, most = (results[f"crowd of {size}"] for size in (CROWDS[0], CROWDS[-1]))
    results["shoppers"] = {
        "p50 beside 32 / alone": round(most["p50_ms"] / alone["p50_ms"], 2),
        "p99 beside 32 / alone": round(most["p99_ms"] / alone["p99_ms"], 2),
    }
    return results


def crowd(port: int, photos: Sequence[bytes], size: int, seconds: float) -> tuple[int, int]:
    """How many photos of one client were answered and how many were not; it asks for `size` at a time."""
    statuses: list[int] = []
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        rng = random.Random(number)
        while time.monotonic() < end:
            statuses.append(ask(port, "POST", "/v1/search?k=12", rng.choice(photos), source=FOREIGN)[0])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(size)]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, end - time.monotonic()))
    for thread in threads:
        thread.join(60)
    return statuses.count(200), len(statuses) - statuses.count(200)


if __name__ == "__main__":
    sys.exit(main())
