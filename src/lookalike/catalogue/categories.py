"""Leaf categories that are too small to learn: merged with their small siblings into the parent, or left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CategoryPlan:
    """What becomes of every category of a catalogue."""

    becomes: Mapping[str, str]
    """Category of the catalogue -> category to learn; those that are left out are missing."""
    merged: Mapping[str, tuple[str, ...]]
    """Parent -> the small categories that it takes in."""
    left_out: tuple[str, ...]


def plan_categories(counts: Mapping[str, int], min_category: int) -> CategoryPlan:
    """Decide on every category by how many distinct photos there are to learn it from.

    One with fewer than `min_category` goes to its parent, if that, its small siblings and what the catalogue puts right
    at the parent make up `min_category` together. A merged category stands for "the other things of this kind".
    """
    small = {category for category, count in counts.items() if count < min_category}
    siblings: dict[str, list[str]] = defaultdict(list)
    for category in sorted(small):
        parent, _, _ = category.rpartition("/")
        if parent:
            siblings[parent].append(category)
    merged: dict[str, tuple[str, ...]] = {}
    for parent, children in sorted(siblings.items()):
        if sum(counts[child] for child in children) + counts.get(parent, 0) >= min_category:
            merged[parent] = tuple(children)
    becomes = {category: category for category in counts if category not in small or category in merged}
    becomes |= {
        child: parent for parent, children in merged.items() for child in children if child not in merged
    }
    left_out = tuple(sorted(category for category in counts if category not in becomes))
    return CategoryPlan(becomes, merged, left_out)
