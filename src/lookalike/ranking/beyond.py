"""Hits from beyond the categories that were opened: what looks alike, whatever it is.

A photo whose category is unsure may belong to none of those that routing opens. A scan of everything by the whole code
would not mend that, since a quarter of it says the wrong category. So the bits about the category are left out: in the
scan by a fixed random pattern, which is about equally far from every category, and in the re-score by probabilities of
one half. Such hits take every third place of the answer, since two thirds of the unsure are routed well all the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np

from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.request import Hit

EVERY = 3
"""Of so many places one is such a hit's, the third, the sixth and so on."""


def by_look(query: EncodedQuery, category_bits: int) -> EncodedQuery:
    """The query without what its first `category_bits` say."""
    (code, probabilities), *others = (
        _blind(*pair, category_bits) for pair in ((query.code, query.bit_probabilities), *query.others)
    )
    return replace(query, code=code, bit_probabilities=probabilities, others=tuple(others))


def _blind(code: np.ndarray, probabilities: np.ndarray, category_bits: int) -> tuple[np.ndarray, np.ndarray]:
    bits, blind = np.unpackbits(code), probabilities.copy()
    bits[:category_bits] = _pattern(category_bits)
    blind[:category_bits] = 0.5
    return np.packbits(bits), blind


def mixed(routed: Sequence[Hit], beyond: Sequence[Hit], k: int, *, grouped: bool) -> list[Hit]:
    """At most `k` hits: `routed` in their order, every third place one of `beyond`; nothing twice, and where they are
    `grouped` no group twice."""
    queues = (iter(routed), iter(beyond))
    seen: set[str] = set()
    found: list[Hit] = []

    def following(queue: int) -> Hit | None:
        return next((h for h in queues[queue] if (h.group if grouped else h.listing_id) not in seen), None)

    while len(found) < k:
        first = 1 if len(found) % EVERY == EVERY - 1 else 0
        hit = following(first) or following(1 - first)
        if hit is None:
            break
        seen.add(hit.group if grouped else hit.listing_id)
        found.append(hit)
    return found


@cache
def _pattern(bits: int) -> np.ndarray:
    pattern = np.random.default_rng(0).integers(0, 2, bits, np.uint8)
    pattern.setflags(write=False)
    return pattern
