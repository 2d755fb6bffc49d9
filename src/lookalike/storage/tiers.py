"""Which of many small files are merged: those of about one size, once there are eight of them.

Sizes enter, places of files leave. Merged files grow eightfold each time, so a byte is copied once for every digit that
the size of a whole file has to base eight, and at most seven files of each such size stay (a log-structured merge in
tiers; O'Neil et al., Acta Informatica 33(4), 1996). How many files there are follows from how much there is, however
often little was added.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

_MOST = 8
_BITS = 3
"""Sizes of one tier have as many times three binary digits."""


def crowded(sizes: Sequence[int], whole: int) -> list[int]:
    """Places of the files to merge into one now; none where no tier has eight. Files of `whole` and more stay."""
    tiers: dict[int, list[int]] = defaultdict(list)
    for place, size in enumerate(sizes):
        if size < whole:
            tiers[size.bit_length() // _BITS].append(place)
    chosen: list[int] = []
    below: list[int] = []
    for tier in sorted(tiers):
        below += tiers[tier]
        if len(tiers[tier]) + bool(chosen) >= _MOST:  # with what is merged below, which may grow into it
            chosen = list(below)
    return chosen
