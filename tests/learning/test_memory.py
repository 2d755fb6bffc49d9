"""While a CPU trains, a tensor takes the pages of the one before it instead of new ones from the kernel."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

import pytest
import torch

from lookalike.learning import memory

BLOCK, TIMES = 64 * 2**20, 10
PAGES = TIMES * BLOCK // resource.getpagesize()


def faults() -> int:
    """Pages that the kernel gives to tensors which come one after the other."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(TIMES):
        torch.zeros(BLOCK, dtype=torch.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="no glibc")
def test_freed_memory_is_taken_again_and_given_back_at_the_end() -> None:
    with memory.kept():
        faults()  # the first takes its pages
        assert faults() < PAGES / 20
        inside = _resident()
        block = torch.ones(8 * BLOCK, dtype=torch.uint8)
        del block
        assert _resident() > inside + 6 * BLOCK  # one of the eight may be there already
    assert _resident() < inside + BLOCK


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
