"""What a search process asks of memory: freed pages go back to the system, and nobody waits for the collector.

Memory that photos were decoded into goes back to the system at once.

glibc raises the size from which it maps blocks of their own, up to 32 MB, each time such a block is freed. From then on
photos are decoded in the heaps of the threads, which keep what they once had: 1.2 GB after a burst of large photos,
140 MB with a fixed size. musl and macOS have no such heaps.

Python's collector looks through all objects once enough new ones have survived, as those of a crowd of connections do.
With 150,000 of modules and snapshots that held the interpreter for 140 ms, searches and probes alike.
"""

from __future__ import annotations

import ctypes
import gc

MMAP_THRESHOLD = 1 << 20
"""Bytes. The image sets the same by `MALLOC_MMAP_THRESHOLD_`, for processes that begin elsewhere."""
_M_MMAP_THRESHOLD = -3


def return_freed_memory() -> bool:
    """Fix the size from which blocks are mapped; False where the C library has no such setting."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD))


def spare_collector() -> None:
    """Let the collector pass over what is there now, for ever: what a process is ready with it needs to its end."""
    gc.collect()
    gc.freeze()
