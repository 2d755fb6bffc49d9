"""How far a catalogue's own photos are from what looks most like them: the measure of "nothing here looks like this".

Enters: the segments of an index that is being built, and its listings. Some of these are asked for as a shopper's photo
would be, the listings of their own product left out, or those of their own photo alone where no five others of their
category are near. Leaves: the distribution of the mean distance of the five nearest, which the index's
manifest keeps.

A distance alone says little: how far alike things lie apart follows from the network, the length of the code and how
many listings there are. Its place in this distribution means the same in every catalogue and for every query. A photo
of something that the shop does not have lies beyond most of it. The bits about category and colours are left out,
because whatever is photographed has some category's and some listing's colours. What all photos of a catalogue have in
common, and the remaining bits do not say, is put back (`centre`). (Clothing, codes of the recipe `frozen`: where 5 % of
its own photos are refused, 56 % of photos of groceries were by the whole code, 95 % by those bits, 100 % with both.)

Listings that no release trains on are preferred, since a network puts what it has learned from closer together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.index.centre import Centre
from lookalike.index.hamming import Scanner
from lookalike.index.reader import IndexSnapshot
from lookalike.index.searchable import Searchable, one_array

NEAREST = 5
"""Listings whose distances are averaged: one alone may be near by chance."""
ASKED = 1000
"""Listings that are asked for at most; 1,000 put the twentieth part within 4.4 and 5.6 %, two times in three."""
SHOPPERS = 500
"""Of these at most where photos are taken anew, since each is decoded and encoded: the twentieth part is then within
4.0 and 6.0 %, two times in three."""
_ENOUGH = 200
"""Where fewer are held out, others fill up to this many."""
_LEAST = 20
"""Of fewer no distribution is made."""
_LOOKED_AT = 300
"""Nearest rows by the whole code among which the nearest by shape are: as many as search ranks."""
_HELD_OUT, _TRAINED_ON = ("test", "val"), "train"
META = "likeness"
"""Its name in an index's manifest."""
Take = Callable[[Sequence[str]], Mapping[str, tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]]]
"""Gives code and features of photos as shoppers would take them (`coding.shoppers`)."""
Features = tuple[pa.Array, npt.NDArray[np.floating]]
"""Photo ids, and their features [n, d]."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """The distribution of a catalogue's own distances."""

    distances: tuple[float, ...]
    """In bits, rising: the quantiles at 0, 1, ... 100 %."""
    bits: tuple[int, int]
    """The bits that are compared, from and to: those about the category and about colours are left out where there are
    such."""
    asked: int = 0
    """Of so many listings."""
    centre: Centre | None = None
    """What moves distances before they are compared; None: nothing, in an index of version 0.2 or before."""
    cosine: float | None = None
    """That of the photo which distances are from, with the centre; None: as the catalogue's photos have on average."""

    def seen_from(self, features: npt.NDArray[np.floating] | None) -> Self:
        """The same for distances from a photo of these features [d]; None: from a listing, of which there are none."""
        if self.centre is None or features is None or len(features) != self.centre.width:
            return self
        return replace(self, cosine=float(self.centre.cosine(features[None])[0]))

    def moved(self, distances: npt.NDArray[np.floating | np.integer]) -> npt.NDArray[np.float64]:
        """Distances in the bits that are compared, as they count."""
        if self.centre is None:
            return np.asarray(distances, np.float64)
        cosine = self.centre.own if self.cosine is None else self.cosine
        return self.centre.moved(distances, self.bits[1] - self.bits[0], cosine)

    def of(self, distances: npt.NDArray[np.floating | np.integer]) -> npt.NDArray[np.float64]:
        """The share of the catalogue's own photos whose nearest are at least so far: 1 is as near as any, 0 is farther
        than all."""
        found: npt.NDArray[np.float64] = np.interp(self.moved(distances), *_curve(self.distances))
        return found

    def to_json(self) -> dict[str, Any]:
        body = {"asked": self.asked, "bits": list(self.bits), "distances": list(self.distances)}
        # Readers of version 0.2 know distances as they are, by another name.
        if self.centre is None:
            return {"nearest": NEAREST} | body
        return {"moved_nearest": NEAREST, "centre": self.centre.to_json()} | body

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Self | None:
        """That of an index; None where its manifest has none, because it is older or has too few listings."""
        body = meta.get(META)
        if not isinstance(body, Mapping) or "bits" not in body:
            return None
        if body.get("nearest") != NEAREST and body.get("moved_nearest") != NEAREST:
            return None
        distances = [float(each) for each in body["distances"]]
        if len(distances) < 2 or distances != sorted(distances):
            return None
        first, last = body["bits"]
        centre = Centre.from_json(body["centre"]) if "moved_nearest" in body else None
        return cls(tuple(distances), (int(first), int(last)), int(body["asked"]), centre)


@lru_cache(8)
def _curve(quantiles: tuple[float, ...]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Distances, and the share of the catalogue's own photos beyond each: the same for all queries of an index."""
    return np.array(quantiles), np.linspace(1, 0, len(quantiles))


def measure(
    index: IndexSnapshot,
    searchable: Searchable,
    splits: pa.Table,
    bits: tuple[int, int],
    features: Features,
    take: Take | None = None,
) -> Likeness | None:
    """Ask an index for the main photos of its own listings; None where there are too few.

    With `take` they are asked for as shoppers would take them, `SHOPPERS` at most.

    `splits` has the columns listing_id and split; `bits`, whole bytes, are those that are compared. `features` may be
    those of a part of the photos: listings of other photos are not asked for.
    """
    photo_ids, values = features
    centre = Centre.of(values) if len(values) else None
    plain = Likeness((), bits, centre=centre)

    rows = _choose(searchable, splits, photo_ids).to_pylist()
    if take is not None:
        rows = rows[:: -(-len(rows) // SHOPPERS)] if rows else rows
    taken = {} if take is None else take(_main_photos(searchable, rows))

    def seen_from(photo_id: str) -> Likeness:
        if photo_id in taken:
            return plain.seen_from(taken[photo_id][1])
        at = pc.index(photo_ids, photo_id).as_py()
        return plain.seen_from(None if at < 0 else values[at])

    found = _ask(index, rows, bits, seen_from, {photo_id: code for photo_id, (code, _) in taken.items()})
    if len(found) < _LEAST:
        return None
    levels = np.quantile(np.array(found), np.linspace(0, 1, 101))
    return replace(plain, distances=tuple(round(float(level), 1) for level in levels), asked=len(found))


def _choose(searchable: Searchable, splits: pa.Table, photo_ids: pa.Array) -> pa.Table:
    """At most `ASKED` listings, evenly spaced: held-out ones, then those only searched for, then others."""
    known = searchable.photos.filter(pc.is_in(searchable.photos["photo_id"], photo_ids))
    listings = searchable.listings.select(["listing_id", "category", "group"])
    listings = listings.filter(pc.is_in(listings["listing_id"], one_array(known["listing_id"])))
    at = pc.index_in(one_array(listings["listing_id"]), one_array(splits["listing_id"]))
    named = np.array(splits["split"].take(at).to_pylist(), np.object_)
    ranks = np.where(np.isin(named, _HELD_OUT), 0, np.where(named == _TRAINED_ON, 2, 1))
    chosen: list[int] = []
    for rank in range(3):
        rows = np.flatnonzero(ranks == rank)
        wanted = min(len(rows), (ASKED if rank == 0 else _ENOUGH) - len(chosen))
        if wanted > 0:
            chosen += rows[np.arange(wanted) * len(rows) // wanted].tolist()
    return listings.take(pa.array(sorted(chosen), pa.int64()))


def _main_photos(searchable: Searchable, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first photo of each of these listings."""
    first = pc.index_in(
        pa.array([row["listing_id"] for row in rows], pa.utf8()), one_array(searchable.photos["listing_id"])
    )
    found: list[str] = one_array(searchable.photos["photo_id"]).take(first).to_pylist()
    return sorted(set(found))


def _ask(
    index: IndexSnapshot,
    rows: Sequence[Mapping[str, Any]],
    bits: tuple[int, int],
    seen_from: Callable[[str], Likeness],
    taken: Mapping[str, npt.NDArray[np.uint8]],
) -> list[float]:
    """The mean distance of the nearest listings to each of `rows`, which are some of the index's, as it counts.

    `seen_from` gives the measure of distances from a photo, `taken` the code of a photo that was taken anew.
    """
    partitions = [part for category in index.categories for part in index.partitions(category)]
    ids = pa.array([row["listing_id"] for row in rows], pa.utf8())
    codes = np.empty((len(rows), index.bits // 8), np.uint8)
    photos: list[str] = [""] * len(rows)
    for partition in partitions:
        first = pc.index_in(ids, partition.listing_ids)  # of a listing's rows that of its main photo
        for i, at in enumerate(first.to_pylist()):
            if at is not None:
                codes[i], photos[i] = partition.codes[at], partition.photo_ids[at].as_py()
    for i, photo_id in enumerate(photos):
        codes[i] = taken.get(photo_id, codes[i])
    near = Scanner().top_k(codes, partitions, _LOOKED_AT)
    found = []
    for i, row in enumerate(rows):
        others: list[int] = []
        again: list[int] = []
        of_category = 0
        seen = {row["listing_id"]}
        places, numbers = near.partition[i], near.row[i]
        there = np.stack([partitions[p].codes[at] for p, at in zip(places, numbers, strict=True)])
        part = slice(bits[0] // 8, bits[1] // 8)
        distances = np.bitwise_count(there[:, part] ^ codes[i, part]).sum(axis=1)
        for one in np.argsort(distances, kind="stable"):
            distance, place, at = int(distances[one]), places[one], numbers[one]
            partition = partitions[place]
            listing_id = partition.listing_ids[at].as_py()
            if listing_id in seen or partition.photo_ids[at].as_py() == photos[i]:
                continue
            seen.add(listing_id)
            again.append(distance)
            if partition.groups[at].as_py() != row["group"]:
                others.append(distance)
                of_category += partition.category == row["category"]
            if of_category == NEAREST:
                break
        kept = (others if of_category == NEAREST else again)[:NEAREST]
        if kept:
            found.append(float(seen_from(photos[i]).moved(np.array([np.mean(kept)]))[0]))
    return found
