"""Who is learnt from and who is held out, so that nothing held out has been seen in another listing.

Listings that share a photo, nearly share one, or offer the same product, or come from the same seller, hang together
and go to one side. A listing keeps the side that it had in the parent snapshot, and a new one joins those it hangs
together with; else the side follows from a SHA-256 of what holds them together. Splits that the catalogue gives are
kept. Training listings that hang together with held-out ones are moved to the split `leak`, which is searched but not
learnt from; that also befalls listings of both sides that a new photo ties.

Listings are columns of numbers here, in the order of their ids; numbers of texts follow the order of the texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from lookalike.catalogue.duplicates import joined
from lookalike.catalogue.shelf import Places

MOST_TOGETHER = 0.4
"""Share of the listings in one group, beyond which sellers tie nothing: the group would be all that is learnt from."""
TRAIN, VAL, TEST, LEAK = "train", "val", "test", "leak"
SIDES = (TRAIN, VAL, TEST, LEAK)
"""The first numbers of sides; names of a shop's own follow, and -1 is none."""
_TRAIN, _VAL, _TEST, _LEAK = range(4)
_BLOCK = 1 << 16
_LAST = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Tied:
    """What each of n listings hangs together by; -1 ties nothing."""

    owners: Places
    """The listing that each of `groups` is of, in order; each listing has one at least."""
    groups: Places
    """Near-duplicate groups of its photos, by the number of their first photo; the first is that of its main photo.
    What is above the photos' numbers ties a listing to itself: the number of photos and its own place."""
    product: Places
    seller: Places
    given: Places
    """The split that the catalogue gives."""
    category: Places
    before: Places
    """The split that it has in the parent snapshot."""
    photo_ids: pa.StringArray
    listing_ids: pa.StringArray
    products: pa.StringArray
    categories: Sequence[str]

    def __len__(self) -> int:
        return len(self.product)

    def anew(self) -> Tied:
        """Without a parent snapshot."""
        return replace(self, before=np.full(len(self), -1, np.int32))

    def grouped(self, ties: Iterable[str]) -> Places:
        """For each listing the first one of the group that it belongs to. `ties` are names among ``photo_groups``,
        `product`, `seller`."""
        labels = np.arange(len(self), dtype=np.int32)
        for name in ties:
            if name == "photo_groups":
                labels = joined(labels, self.owners, self.groups)
                continue
            codes: Places = getattr(self, name)
            own = np.flatnonzero(codes >= 0).astype(np.int32)
            labels = joined(labels, own, codes[own])
        return labels

    def keys(self, by_product: bool) -> Places:
        """A number of what holds each listing together with others, in the order of `texts`."""
        keys = self.groups[np.flatnonzero(np.diff(self.owners, prepend=np.int32(-1)))]
        if by_product:
            named = self.product >= 0
            keys[named] = self.product[named] + np.int32(len(self.photo_ids) + len(self))
        return keys

    def texts(self, keys: Places) -> list[str]:
        """These as texts."""
        found = np.empty(len(keys), object)
        photos, listings = len(self.photo_ids), len(self.photo_ids) + len(self)
        for low, high, start, names in (
            (0, photos, "photo ", self.photo_ids),
            (photos, listings, "photo listing ", self.listing_ids),
            (listings, _LAST, "product ", self.products),
        ):
            own = (keys >= low) & (keys < high)
            found[own] = [start + name for name in names.take(pa.array(keys[own] - low)).to_pylist()]
        return list(found)


@dataclass(frozen=True, slots=True)
class Splits:
    """`split` of every listing, as a number; `leaks` are the places of those that were moved out of training."""

    split: Places
    leaks: Places
    ties: tuple[str, ...] = ()
    """What holds listings together on one side."""
    groups: int = 0
    """Groups of listings that are held together; a listing that nothing ties is one."""
    largest: int = 0
    """Listings of the largest group."""


def assign_splits(
    tied: Tied, *, ties: Iterable[str], leak_ties: Iterable[str], val_share: float, test_share: float
) -> Splits:
    """A split for every listing; `ties` and `leak_ties` as `Tied.grouped` takes them."""
    ties = tuple(ties)
    group = tied.grouped(ties)
    before = tied.before.copy()
    before[before == _LEAK] = _TRAIN
    before[before > _LEAK] = -1
    split = np.where(tied.given >= 0, tied.given, before)
    for known in (tied.given, before):
        open_ = np.flatnonzero(split < 0)
        split[open_] = _sides(group, known)[group[open_]]
    del before, known, open_
    keys = np.full(len(tied), _LAST, np.int32)
    np.minimum.at(keys, group, tied.keys("product" in ties))
    wanted = np.zeros(len(tied), bool)
    wanted[group[split < 0]] = True
    open_ = np.flatnonzero(wanted)
    drawn = np.full(len(tied), -1, np.int32)
    for at in range(0, len(open_), _BLOCK):
        some = open_[at : at + _BLOCK]
        drawn[some] = _drawn(tied.texts(keys[some]), val_share, test_share)
    open_ = np.flatnonzero(split < 0)
    split[open_] = drawn[group[open_]]
    del drawn, open_
    _teach_every_category(tied, group, keys, split)
    sizes = np.bincount(group)
    leaks = _take_out_leaks(tied.grouped(leak_ties), split)
    return Splits(split, leaks, ties, int(np.count_nonzero(sizes)), int(sizes.max(initial=0)))


def leaves_two_sides(tied: Tied, ties: Iterable[str]) -> bool:
    """Whether `ties` hold no group together that is too large to be on one side of the splits."""
    return int(np.bincount(tied.grouped(ties)).max(initial=0)) <= MOST_TOGETHER * len(tied)


def _sides(group: Places, known: Places) -> Places:
    """The side of each group that has one: who has none joins those it hangs together with, held-out ones first."""
    sides = np.full(len(group), -1, np.int32)
    own = np.flatnonzero((known >= 0) & (known < _LEAK))
    np.maximum.at(sides, group[own], known[own].astype(np.int32))
    return sides


def _drawn(keys: Sequence[str], val_share: float, test_share: float) -> Places:
    digests = b"".join(hashlib.sha256(key.encode()).digest()[:8] for key in keys)
    place = np.frombuffer(digests, ">u8").astype(np.float64) / 2**64
    return np.where(place < test_share, _TEST, np.where(place < test_share + val_share, _VAL, _TRAIN))


def _teach_every_category(tied: Tied, group: Places, keys: Places, split: Places) -> None:
    """A category that chance left without training listings gets one of its groups into training."""
    free = tied.given < 0
    blocked = np.zeros(len(group), bool)
    blocked[group[(tied.given == _VAL) | (tied.given == _TEST)]] = True
    untaught = np.bincount(tied.category, minlength=len(tied.categories)) > 0
    untaught[tied.category[split == _TRAIN]] = False
    for category in sorted(np.flatnonzero(untaught).tolist(), key=lambda code: tied.categories[code]):
        own = group[(tied.category == category) & free]
        numbers, counts = np.unique(own[~blocked[own]], return_counts=True)
        if len(numbers):
            chosen = numbers[np.lexsort((keys[numbers], counts))[-1]]
            split[(group == chosen) & free] = _TRAIN


def _take_out_leaks(group: Places, split: Places) -> Places:
    held_out = np.zeros(len(group), bool)
    held_out[group[(split == _VAL) | (split == _TEST)]] = True
    leaks = np.flatnonzero((split == _TRAIN) & held_out[group]).astype(np.int32)
    split[leaks] = _LEAK
    return leaks
