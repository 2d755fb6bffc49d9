"""One hit per product: of rows that share a group (a product, or a photo used twice), the best one stays."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence

from lookalike.ranking.listings import Candidates


def first_of_each_group(
    groups: Iterable[Hashable], *, limit: int, seen: set[Hashable] | None = None
) -> list[int]:
    """Positions of the first row of each group, in order, `limit` at most. `groups` come best row first, and no further
    ones are taken than needed. Groups `seen` before have their row; those that are found are added to them."""
    seen = set() if seen is None else seen
    kept: list[int] = []
    for position, group in enumerate(groups):
        if group in seen:
            continue
        seen.add(group)
        kept.append(position)
        if len(kept) == limit:
            break
    return kept


def without(candidates: Candidates, listings: Collection[str], groups: Collection[str]) -> Candidates:
    """Those that are none of `listings` and of none of `groups`."""
    if not (listings or groups):
        return candidates
    named = zip(candidates.listing_ids(), candidates.groups(), strict=True)
    kept = [i for i, (listing, own) in enumerate(named) if listing not in listings and own not in groups]
    return candidates if len(kept) == len(candidates) else candidates.take(kept)


def groups_of(candidates: Candidates, order: Sequence[int], at_once: int) -> Iterator[str]:
    """The groups of the candidates in this order, read a few at a time: most searches need no more of them."""
    for start in range(0, len(order), at_once):
        yield from candidates.take(order[start : start + at_once]).groups()
