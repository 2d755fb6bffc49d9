"""Listings whose category may be wrong, before any network has seen them. A list for people; nothing is changed.

In the order of how much they prove: the same photo, or nearly the same, stands in another category; the product's
other listings agree on another category; or the photo looks like those of another category (`looks`). The last speaks
only where the twelve nearest photos of other products leave hardly a doubt.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.looks import NEIGHBOURS, Looks

AGREEMENT = 0.75
"""Share of the neighbours' votes, weighed by the rarity of their category, that another category must have."""
MOST_PHOTOS = 30_000
"""Beyond this many listings neighbours are not compared: a first search grows with the square."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A listing as far as its category can be doubted."""

    listing_id: str
    category: str
    photo_id: str
    photo_group: str
    product: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """`listing_id` says `category`; the evidence says `other`."""

    listing_id: str
    category: str
    other: str
    evidence: str
    """``same photo``, ``nearly the same photo``, ``same product`` or ``looks``."""


def find_suspects(listings: Sequence[Labelled], looks: Looks) -> list[Suspect]:
    """Suspects by strength of the evidence, each listing once."""
    found: dict[str, Suspect] = {}
    for evidence, attribute in (("same photo", "photo_id"), ("nearly the same photo", "photo_group")):
        for members in _sharing(listings, attribute):
            for suspect in _minority(members, evidence, share=0.5):
                found.setdefault(suspect.listing_id, suspect)
    for members in _sharing(listings, "product"):
        if len(members) >= 3:
            for suspect in _minority(members, "same product", share=2 / 3):
                found.setdefault(suspect.listing_id, suspect)
    if len(listings) <= MOST_PHOTOS:
        for suspect in _by_looks(listings, looks):
            found.setdefault(suspect.listing_id, suspect)
    return list(found.values())


def _sharing(listings: Sequence[Labelled], attribute: str) -> Iterator[list[Labelled]]:
    groups: dict[str, list[Labelled]] = defaultdict(list)
    for listing in listings:
        value: str = getattr(listing, attribute)
        if value:
            groups[value].append(listing)
    for _, members in sorted(groups.items()):
        if len({member.category for member in members}) > 1:
            yield members


def _minority(members: Sequence[Labelled], evidence: str, share: float) -> Iterator[Suspect]:
    """Those that are not of the category which `share` of the members have; all of them where it is a draw."""
    counts = Counter(member.category for member in members)
    (first, most), (second, next_most) = counts.most_common(2)
    if most / len(members) < share:
        return
    draw = most == next_most
    for member in members:
        if draw or member.category != first:
            other = first if member.category != first else second
            yield Suspect(member.listing_id, member.category, other, evidence)


def _by_looks(listings: Sequence[Labelled], looks: Looks) -> Iterator[Suspect]:
    if len(listings) <= NEIGHBOURS:
        return
    names = sorted({listing.category for listing in listings})
    number = {name: at for at, name in enumerate(names)}
    category = np.array([number[listing.category] for listing in listings])
    weight = (1 / np.sqrt(np.bincount(category))).astype(np.float32)
    near = _nearest(listings, looks)
    votes = np.zeros((len(listings), len(names)), np.float32)
    for column in near.T:
        rows = np.flatnonzero(column >= 0)
        kind = category[column[rows]]
        votes[rows, kind] += weight[kind]
    for_own = votes[np.arange(len(listings)), category]
    best = votes.argmax(axis=1)
    share = votes.max(axis=1) / np.maximum(votes.sum(axis=1), 1e-9)
    for place in np.lexsort((np.arange(len(listings)), -share)):
        if for_own[place] == 0 and share[place] >= AGREEMENT:
            listing = listings[place]
            yield Suspect(listing.listing_id, listing.category, names[best[place]], "looks")


def _nearest(listings: Sequence[Labelled], looks: Looks) -> NDArray[np.int64]:
    """For each listing the twelve that look most like it, of other products; -1 where there are fewer.

    A listing that shares photo and product with others is one item with these, since they have the same neighbours.
    """
    sets = [x.product or x.photo_group for x in listings]  # what is of one set proves nothing here
    named = np.array(
        [_item(x.photo_id, mine) for x, mine in zip(listings, sets, strict=True)],
        np.uint64,
    )
    items, first, item, sizes = np.unique(named, return_index=True, return_inverse=True, return_counts=True)
    _, own = np.unique(np.array(sets, object)[first].astype(str), return_inverse=True)
    near = looks.nearest(items, own, looks.described([listings[at].photo_id for at in first]))
    members = np.argsort(item, kind="stable")
    starts = np.cumsum(sizes) - sizes
    ends = np.cumsum(np.where(near < 0, 0, sizes[near]), axis=1)
    found = np.full((len(items), NEIGHBOURS), -1, np.int64)
    for place in range(NEIGHBOURS):
        rows = np.flatnonzero(ends[:, -1] > place)
        of = (ends[rows] <= place).sum(axis=1)
        other = near[rows, of]
        found[rows, place] = members[starts[other] + place - (ends[rows, of] - sizes[other])]
    return found[item]


def _item(photo_id: str, own: str) -> int:
    name = f"{photo_id}\n{own}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
