"""Listings whose category may be wrong, before any network has seen them. A list for people; nothing is changed.

In the order of how much they prove: the same photo, or nearly the same, stands in another category; the product's
other listings agree on another category; or the photo looks like those of another category (`looks`). The last speaks
only where the twelve nearest photos of other products leave hardly a doubt.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.looks import NEIGHBOURS, Looks
from lookalike.catalogue.shelf import Places

AGREEMENT = 0.75
"""Share of the neighbours' votes, weighed by the rarity of their category, that another category must have."""
MOST_PHOTOS = 30_000
"""Beyond this many listings neighbours are not compared: a first search grows with the square."""
EVIDENCE = ("same photo", "nearly the same photo", "same product", "looks")
"""What is told of a suspect, the strongest first."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Listings as far as their categories can be doubted: columns of numbers, which follow the order of their texts."""

    listing_ids: pa.StringArray
    category: Places
    photo: Places
    group: Places
    """The first photo that shows the same picture."""
    product: Places
    """-1 for none."""
    categories: pa.StringArray
    photo_ids: pa.StringArray
    products: pa.StringArray

    def __len__(self) -> int:
        return len(self.category)


@dataclass(frozen=True, slots=True)
class Suspect:
    """`listing_id` says `category`; the evidence says `other`."""

    listing_id: str
    category: str
    other: str
    evidence: str
    """``same photo``, ``nearly the same photo``, ``same product`` or ``looks``."""


class Suspects(Sequence[Suspect]):
    """Listings by the strength of the evidence, each once."""

    def __init__(
        self,
        labelled: Labelled,
        places: NDArray[np.int64],
        others: NDArray[np.int64],
        evidence: NDArray[np.int64],
    ) -> None:
        self._labelled, self.places, self._others, self._evidence = labelled, places, others, evidence

    def counts(self) -> Counter[str]:
        """How many there are by each evidence."""
        counts = np.bincount(self._evidence, minlength=len(EVIDENCE))
        return Counter({name: n for name, n in zip(EVIDENCE, counts.tolist(), strict=True) if n})

    def by(self, evidence: str) -> Suspects:
        """Those that one evidence is against."""
        own = self._evidence == EVIDENCE.index(evidence)
        return Suspects(self._labelled, self.places[own], self._others[own], self._evidence[own])

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, at: int) -> Suspect: ...
    @overload
    def __getitem__(self, at: slice) -> list[Suspect]: ...
    def __getitem__(self, at: int | slice) -> Suspect | list[Suspect]:
        if isinstance(at, int):
            return self[range(len(self))[at] : range(len(self))[at] + 1][0]
        known, places = self._labelled, self.places[at]
        ids = known.listing_ids.take(pa.array(places)).to_pylist()
        says, other = (
            known.categories.take(pa.array(codes)).to_pylist()
            for codes in (known.category[places], self._others[at])
        )
        told = (EVIDENCE[number] for number in self._evidence[at].tolist())
        return [Suspect(*each) for each in zip(ids, says, other, told, strict=True)]


def find_suspects(listings: Labelled, looks: Looks) -> Suspects:
    """Suspects by strength of the evidence, each listing once."""
    everyone = np.arange(len(listings), dtype=np.int32)
    named = np.flatnonzero(listings.product >= 0).astype(np.int32)
    found = [
        (0, *_minorities(listings, everyone, listings.photo, share=0.5)),
        (1, *_minorities(listings, everyone, listings.group, share=0.5)),
        (2, *_minorities(listings, named, listings.product[named], share=2 / 3, least=3)),
    ]
    if len(listings) <= MOST_PHOTOS:
        told = list(_by_looks(listings, looks))
        found.append((3, np.array([x for x, _ in told], np.int64), np.array([y for _, y in told], np.int64)))
    places = np.concatenate([places for _, places, _ in found])
    others = np.concatenate([others for _, _, others in found])
    evidence = np.concatenate([np.full(len(places), number) for number, places, _ in found])
    first = np.sort(np.unique(places, return_index=True)[1])
    return Suspects(listings, places[first], others[first], evidence[first])


def _minorities(
    listings: Labelled, places: Places, codes: Places, *, share: float, least: int = 2
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of listings that share a code, `least` or more, those that are not of the category which `share` of them have,
    and that; all of them where it is a draw."""
    found, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for members in _disagreeing(listings.category, places, codes, least):
        own = listings.category[members]
        kinds, at, counts = np.unique(own, return_index=True, return_counts=True)
        first, second = np.lexsort((at, -counts))[:2]
        if counts[first] / len(members) < share:
            continue
        doubted = np.ones(len(members), bool) if counts[first] == counts[second] else own != kinds[first]
        found.append(members[doubted])
        others.append(np.where(own != kinds[first], kinds[first], kinds[second])[doubted].astype(np.int64))
    return np.concatenate(found), np.concatenate(others)


def _disagreeing(category: Places, places: Places, codes: Places, least: int) -> Iterator[Places]:
    """The listings of each code that stands in several categories, in the order of codes."""
    if not len(codes):
        return
    low, high = (
        np.full(int(codes.max()) + 1, np.iinfo(np.int32).max, np.int32),
        np.full(int(codes.max()) + 1, -1, np.int32),
    )
    np.minimum.at(low, codes, category[places])
    np.maximum.at(high, codes, category[places])
    chosen = np.flatnonzero((low < high)[codes])
    order = chosen[np.argsort(codes[chosen], kind="stable")]
    starts = np.flatnonzero(np.diff(codes[order])) + 1
    for members in np.split(places[order], starts) if len(order) else ():
        if len(members) >= least:
            yield members


def _by_looks(listings: Labelled, looks: Looks) -> Iterator[tuple[int, int]]:
    """Places of listings, and the categories that they look like."""
    if len(listings) <= NEIGHBOURS:
        return
    kinds, category = np.unique(listings.category, return_inverse=True)
    weight = (1 / np.sqrt(np.bincount(category))).astype(np.float32)
    near = nearest(listings, looks)
    votes = np.zeros((len(listings), len(kinds)), np.float32)
    for column in near.T:
        rows = np.flatnonzero(column >= 0)
        kind = category[column[rows]]
        votes[rows, kind] += weight[kind]
    for_own = votes[np.arange(len(listings)), category]
    best = votes.argmax(axis=1)
    share = votes.max(axis=1) / np.maximum(votes.sum(axis=1), 1e-9)
    for place in np.lexsort((np.arange(len(listings)), -share)):
        if for_own[place] == 0 and share[place] >= AGREEMENT:
            yield int(place), int(kinds[best[place]])


def nearest(listings: Labelled, looks: Looks) -> NDArray[np.int64]:
    """For each listing the twelve that look most like it, of other products; -1 where there are fewer.

    A listing that shares photo and product with others is one item with these, since they have the same neighbours.
    """
    photos = listings.photo_ids.take(pa.array(listings.photo)).to_pylist()
    products = listings.products.take(pa.array(listings.product, mask=listings.product < 0)).to_pylist()
    groups = listings.photo_ids.take(pa.array(listings.group)).to_pylist()
    sets = [x or y for x, y in zip(products, groups, strict=True)]  # what is of one set proves nothing here
    named = np.array([_item(photo, mine) for photo, mine in zip(photos, sets, strict=True)], np.uint64)
    items, first, item, sizes = np.unique(named, return_index=True, return_inverse=True, return_counts=True)
    _, own = np.unique(np.array(sets, object)[first].astype(str), return_inverse=True)
    near = looks.nearest(items, own, looks.described([photos[at] for at in first]))
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
