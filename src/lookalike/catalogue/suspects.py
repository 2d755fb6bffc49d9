"""Listings whose category may be wrong, before any network has seen them. A list for people; nothing is changed.

In the order of how much they prove: the same photo, or nearly the same, stands in another category; the product's
other listings agree on another category; or the photo looks like those of another category. The last compares small
descriptors (edge directions in 4 x 4 cells, after Dalal and Triggs 2005, and mean colours) and speaks only where the
twelve nearest photos of other products leave hardly a doubt.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

NEIGHBOURS = 12
AGREEMENT = 0.75
"""Share of the neighbours' votes, weighed by the rarity of their category, that another category must have."""
MOST_PHOTOS = 30_000
"""Beyond this many photos or listings neighbours are not compared: the work grows with the square."""
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Labelled:
    """A listing as far as its category can be doubted."""

    listing_id: str
    category: str
    photo: int
    """Row of its photo in `prints`."""
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


def find_suspects(listings: Sequence[Labelled], prints: np.ndarray) -> list[Suspect]:
    """Suspects by strength of the evidence, each listing once. `prints` is uint8[n, 16, 16, 3]; without any,
    looks are not compared."""
    found: dict[str, Suspect] = {}
    for evidence, attribute in (("same photo", "photo_id"), ("nearly the same photo", "photo_group")):
        for members in _sharing(listings, attribute):
            for suspect in _minority(members, evidence, share=0.5):
                found.setdefault(suspect.listing_id, suspect)
    for members in _sharing(listings, "product"):
        if len(members) >= 3:
            for suspect in _minority(members, "same product", share=2 / 3):
                found.setdefault(suspect.listing_id, suspect)
    if len(prints) and len(listings) <= MOST_PHOTOS:
        for suspect in _by_looks(listings, prints):
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


def _by_looks(listings: Sequence[Labelled], prints: np.ndarray) -> Iterator[Suspect]:
    if len(listings) <= NEIGHBOURS:
        return
    names = sorted({listing.category for listing in listings})
    category = np.array([names.index(listing.category) for listing in listings])
    sets: dict[str, int] = {}  # of one product or one photo group: they prove nothing here
    own = np.array([sets.setdefault(x.product or x.photo_group, len(sets)) for x in listings])
    weight = 1 / np.sqrt(np.bincount(category))
    blocks = np.array_split(prints, len(prints) // _BLOCK + 1)
    described = np.concatenate([_described(block) for block in blocks])[[x.photo for x in listings]]
    votes = np.zeros((len(listings), len(names)), np.float32)
    for at in range(0, len(listings), _BLOCK):
        rows = np.s_[at : at + _BLOCK]
        likeness = described[rows] @ described.T
        likeness[own[rows][:, None] == own[None, :]] = -np.inf
        nearest = np.argpartition(-likeness, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        for column in nearest.T:
            np.add.at(votes[rows], (np.arange(len(column)), category[column]), weight[category[column]])
    for_own = votes[np.arange(len(listings)), category]
    best = votes.argmax(axis=1)
    share = votes.max(axis=1) / votes.sum(axis=1)
    for place in np.lexsort((np.arange(len(listings)), -share)):
        if for_own[place] == 0 and share[place] >= AGREEMENT:
            listing = listings[place]
            yield Suspect(listing.listing_id, listing.category, names[best[place]], "looks")


def _described(prints: np.ndarray) -> np.ndarray:
    """float32[n, 176], of which the dot product says how alike two photos are."""
    count, bins, cells = len(prints), 8, 4
    grey = prints.mean(axis=3, dtype=np.float32)
    grey = (grey - grey.mean(axis=(1, 2), keepdims=True)) / (grey.std(axis=(1, 2), keepdims=True) + 8)
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(across, down)
    turn = (np.arctan2(down, across) % np.pi) / np.pi * bins
    lower = np.floor(turn).astype(np.int64) % bins
    edges = np.zeros((*grey.shape, bins), np.float32)
    for chosen, part in ((lower, 1 - turn % 1), ((lower + 1) % bins, turn % 1)):
        share = np.zeros_like(edges)
        np.put_along_axis(share, chosen[..., None], (strength * part)[..., None], axis=3)
        edges += share
    in_cells = (count, cells, grey.shape[1] // cells, cells, grey.shape[2] // cells)
    by_edges = edges.reshape(*in_cells, bins).sum(axis=(2, 4)).reshape(count, -1)
    by_colour = prints.reshape(*in_cells, 3).mean(axis=(2, 4), dtype=np.float32).reshape(count, -1) - 128
    parts = [part / (np.linalg.norm(part, axis=1, keepdims=True) + 1e-6) for part in (by_edges, by_colour)]
    return np.concatenate([parts[0], 0.5 * parts[1]], axis=1)
