"""The C library's allocator while a CPU trains: what is freed stays with the process.

glibc gives large blocks back to the system at once, and asks for them again for the next tensor, whose every page is
then zeroed by the kernel. A step frees and takes hundreds of megabytes: of a training of `tuned` on clothing the
kernel took 31 % of the CPU time, and 4 % with what is here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4
"""Of mallopt(3): free bytes at the top of the heap that are kept, and blocks that may be mappings of their own."""
_USUAL = {_TRIM_THRESHOLD: 128 * 1024, _MMAP_MAX: 65536}
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _MMAP_MAX: 0}


@contextmanager
def kept() -> Iterator[None]:
    """Inside, freed memory is kept for what comes next; at the end it is given back. Without glibc nothing is."""
    library = ctypes.CDLL(None)
    if not hasattr(library, "gnu_get_libc_version"):
        yield
        return
    for option, value in _KEEPING.items():
        library.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in _USUAL.items():
            library.mallopt(option, value)
        library.malloc_trim(0)
