"""How fast this machine scans codes: the number that `lookalike plan --measure` takes instead of our machine's."""

from __future__ import annotations

import time

import numpy as np
import pyarrow as pa

from lookalike.index.hamming import Scanner
from lookalike.index.reader import Partition


def measure_scan(bits: int, *, seconds: float = 1.0, threads: int = 0) -> float:
    """GB of random codes that the scan of this machine reads in a second, one query at a time."""
    rng = np.random.default_rng(0)
    width = bits // 8
    codes = rng.integers(0, 256, (100_000_000 // width, width), np.uint8)
    nothing = pa.array([], pa.utf8())
    partition = Partition("", codes, nothing, nothing, nothing, np.empty(0), {})
    scanner, query = Scanner(threads), codes[:1]
    scanner.top_k(query, [partition], 100)
    scans, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        scanner.top_k(query, [partition], 100)
        scans += 1
    return scans * codes.nbytes / 1e9 / (time.perf_counter() - started)
