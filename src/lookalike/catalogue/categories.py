"""Leaf categories that are too small to learn: merged with their small siblings into the parent, or left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CategoryPlan:
    """What becomes of every category of a catalogue."""

    becomes: Mapping[str, str]
    """Category of the catalogue -> category to learn; those that are left out are missing."""
    merged: Mapping[str, tuple[str, ...]]
    """Parent -> the small categories that it takes in."""
    left_out: tuple[str, ...]

    def suits(self, known: Collection[str]) -> bool:
        """Whether a model that knows these categories needs no other plan."""
        shrunk = set(self.left_out).union(*self.merged.values())
        strange = {*self.left_out, *self.becomes.values()}.difference(known)
        return shrunk.isdisjoint(known) and {parent_of(category) for category in strange}.isdisjoint(known)


def parent_of(category: str) -> str:
    """The path above, empty at the top."""
    return category.rpartition("/")[0]


def plan_categories(
    counts: Mapping[str, int], min_category: int, known: Collection[str] = ()
) -> CategoryPlan:
    """Decide on every category by how many distinct photos there are to learn it from.

    One with fewer than `min_category` goes to its parent, if that, its small siblings and what the catalogue puts right
    at the parent make up `min_category` together. A merged category stands for "the other things of this kind".

    `known` are the categories of a model that has learned already: one of them stays, however few photos it has left,
    and one that the model does not know goes to its parent where the model knows that.
    """
    small = {
        category
        for category, count in counts.items()
        if category not in known and (count < min_category or parent_of(category) in known)
    }
    siblings: dict[str, list[str]] = defaultdict(list)
    for category in sorted(small):
        if parent := parent_of(category):
            siblings[parent].append(category)
    merged: dict[str, tuple[str, ...]] = {}
    for parent, children in sorted(siblings.items()):
        together = sum(counts[child] for child in children) + counts.get(parent, 0)
        if parent in known or together >= min_category:
            merged[parent] = tuple(children)
    becomes = {category: category for category in counts if category not in small or category in merged}
    becomes |= {
        child: parent for parent, children in merged.items() for child in children if child not in merged
    }
    left_out = tuple(sorted(category for category in counts if category not in becomes))
    return CategoryPlan(becomes, merged, left_out)
