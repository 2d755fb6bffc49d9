"""Who is learnt from and who is held out, so that nothing held out has been seen in another listing.

Listings that share a photo, nearly share one, or offer the same product, or come from the same seller, hang together
and go to one side. A listing keeps the side that it had in the parent snapshot, and a new one joins those it hangs
together with; else the side follows from a SHA-256 of what holds them together. Splits that the catalogue gives are
kept. Training listings that hang together with held-out ones are moved to the split `leak`, which is searched but not
learnt from; that also befalls listings of both sides that a new photo ties.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lookalike.catalogue.duplicates import components

MOST_TOGETHER = 0.4
"""Share of the listings in one group, beyond which sellers tie nothing: the group would be all that is learnt from."""
TRAIN, VAL, TEST, LEAK = "train", "val", "test", "leak"


@dataclass(frozen=True, slots=True)
class Tied:
    """What a listing hangs together by; empty text ties nothing."""

    photo_groups: tuple[str, ...]
    """Near-duplicate groups of its photos, at least one; the first is that of its main photo."""
    product: str
    seller: str
    given: str
    """The split that the catalogue gives, or empty."""
    category: str
    before: str = ""
    """The split that it has in the parent snapshot, or empty."""


@dataclass(frozen=True, slots=True)
class Splits:
    """`split` of every listing; `leaks` are the places of those that were moved out of training."""

    split: list[str]
    leaks: list[int]
    ties: tuple[str, ...] = ()
    """What holds listings together on one side, as names of fields of `Tied`."""
    groups: int = 0
    """Groups of listings that are held together; a listing that nothing ties is one."""
    largest: int = 0
    """Listings of the largest group."""


def assign_splits(
    listings: Sequence[Tied],
    *,
    ties: Iterable[str],
    leak_ties: Iterable[str],
    val_share: float,
    test_share: float,
) -> Splits:
    """A split for every listing. `ties` and `leak_ties` are names among ``photo_groups``, `product`, `seller`."""
    ties = tuple(ties)
    group = _groups(listings, ties)
    keys: dict[int, str] = {}
    for place, tied in enumerate(listings):
        key = (
            f"product {tied.product}"
            if tied.product and "product" in ties
            else f"photo {tied.photo_groups[0]}"
        )
        keys[group[place]] = min(key, keys.get(group[place], key))
    drawn = {number: _draw(key, val_share, test_share) for number, key in keys.items()}
    given, before = _sides(listings, group, "given"), _sides(listings, group, "before")
    split = [
        tied.given
        or _before(tied)
        or given.get(group[place])
        or before.get(group[place])
        or drawn[group[place]]
        for place, tied in enumerate(listings)
    ]
    _teach_every_category(listings, group, keys, split)
    sizes = Counter(group)
    leaks = _take_out_leaks(listings, leak_ties, split)
    return Splits(split, leaks, ties, len(sizes), max(sizes.values(), default=0))


def leaves_two_sides(listings: Sequence[Tied], ties: Iterable[str]) -> bool:
    """Whether `ties` hold no group together that is too large to be on one side of the splits."""
    sizes = Counter(_groups(listings, ties))
    return max(sizes.values(), default=0) <= MOST_TOGETHER * len(listings)


def _groups(listings: Sequence[Tied], ties: Iterable[str]) -> list[int]:
    """For each listing the number of the group it belongs to (the place of the group's first listing)."""
    pairs: list[tuple[int, int]] = []
    for name in ties:
        first: dict[str, int] = {}
        for place, tied in enumerate(listings):
            value: str | tuple[str, ...] = getattr(tied, name)
            for one in (value,) if isinstance(value, str) else value:
                if one:
                    pairs.append((first.setdefault(one, place), place))
    numbers = components(len(listings), np.array(pairs, np.int64).reshape(-1, 2))
    return [int(number) for number in numbers]


def _before(tied: Tied) -> str:
    """The side that a listing had; one that leaked was learnt from."""
    return TRAIN if tied.before == LEAK else tied.before if tied.before in (TRAIN, VAL, TEST) else ""


def _sides(
    listings: Sequence[Tied], group: Sequence[int], name: Literal["given", "before"]
) -> dict[int, str]:
    """The side of each group that has one: who has none joins those it hangs together with, held-out ones first."""
    sides: dict[int, str] = {}
    for side in (TRAIN, VAL, TEST):
        for place, tied in enumerate(listings):
            if (tied.given if name == "given" else _before(tied)) == side:
                sides[group[place]] = side
    return sides


def _draw(key: str, val_share: float, test_share: float) -> str:
    place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
    return TEST if place < test_share else VAL if place < test_share + val_share else TRAIN


def _teach_every_category(
    listings: Sequence[Tied], group: Sequence[int], keys: Mapping[int, str], split: list[str]
) -> None:
    """A category that chance left without training listings gets one of its groups into training."""
    taught = {tied.category for tied, side in zip(listings, split, strict=True) if side == TRAIN}
    for category in sorted({tied.category for tied in listings} - taught):
        free = [
            group[place]
            for place, tied in enumerate(listings)
            if tied.category == category and not tied.given
        ]
        blocked = {group[place] for place, tied in enumerate(listings) if tied.given in (VAL, TEST)}
        choice = [number for number in free if number not in blocked]
        if choice:
            chosen = max(set(choice), key=lambda number: (Counter(choice)[number], keys[number]))
            for place, number in enumerate(group):
                if number == chosen and not listings[place].given:
                    split[place] = TRAIN


def _take_out_leaks(listings: Sequence[Tied], ties: Iterable[str], split: list[str]) -> list[int]:
    group = _groups(listings, ties)
    held_out = {number for number, side in zip(group, split, strict=True) if side in (VAL, TEST)}
    leaks = [place for place, side in enumerate(split) if side == TRAIN and group[place] in held_out]
    for place in leaks:
        split[place] = LEAK
    return leaks
