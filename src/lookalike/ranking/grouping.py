"""One hit per product: of rows that share a group (a product, or a photo used twice), the best one stays."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


def first_of_each_group(groups: Iterable[Hashable], *, limit: int) -> list[int]:
    """Positions of the first row of each group, in order, `limit` at most. `groups` come best row first, and no further
    ones are taken than needed."""
    seen: set[Hashable] = set()
    kept: list[int] = []
    for position, group in enumerate(groups):
        if group in seen:
            continue
        seen.add(group)
        kept.append(position)
        if len(kept) == limit:
            break
    return kept
