"""Pictures: listings with the photos that are left of those the catalogue names.

A photo that cannot be used is lost to its listing, which goes on with the others: the first good one is its main photo.
A listing that loses all of them is left out, for the reason of its first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.coded import Coded
from lookalike.catalogue.facts import Facts, losses
from lookalike.catalogue.listings import Losses
from lookalike.catalogue.shelf import Places, Shelf
from lookalike.catalogue.spool import Spool, between
from lookalike.storage.artefacts import json_text

_BLOCK = 1 << 16
_LOST = Losses.SCHEMA.append(pa.field("first", pa.int64()))


@dataclass(frozen=True, slots=True)
class Named:
    """The photos that listings name."""

    rows: Places
    """Places of the listings in the catalogue."""
    starts: Places
    """Of each listing's references in `places`, and the end of the last one's."""
    places: Places
    """References, by their place in `images`."""
    images: pa.StringArray
    """Each reference once, as they come."""

    @classmethod
    def by(cls, spool: Spool, rows: Places, shelf: Shelf) -> Named:
        """Those of the listings at `rows`, which are in order."""
        lengths = [np.zeros(1, np.int32)]

        def texts() -> Iterator[pa.StringArray]:
            before = 0
            for batch in spool.batches(["images"]):
                own = rows[between(rows, before, before + batch.num_rows)]
                lists = batch["images"]
                if len(own) < len(lists):
                    lists = lists.take(pa.array(own - before))
                lengths.append(pc.list_value_length(lists).to_numpy())
                before += batch.num_rows
                yield lists.flatten()

        coded = Coded.of(texts(), shelf)
        starts = shelf.keep(np.cumsum(np.concatenate(lengths), dtype=np.int32))
        first = np.empty(len(coded.values), np.int32)
        first[coded.codes[::-1]] = np.arange(len(coded), dtype=np.int32)[::-1]
        order = np.argsort(first).astype(np.int32)
        number = first
        number[order] = np.arange(len(order), dtype=np.int32)
        places = shelf.keep(number[coded.codes])
        blocks = (pa.array(order[at : at + _BLOCK]) for at in range(0, len(order), _BLOCK))
        return cls(rows, starts, places, shelf.texts(map(coded.values.take, blocks)))


@dataclass(frozen=True, slots=True)
class Photos:
    """What each reference leads to."""

    codes: Places
    """Place of its photo among all photos; -1 where there is none to use."""
    reasons: pa.StringArray
    """Why not; null where there is one."""
    details: pa.StringArray


@dataclass(frozen=True, slots=True)
class Pictured:
    """Listings that have a photo."""

    rows: Places
    """Places in the catalogue."""
    starts: Places
    """Of each listing's photos in `photos`, and the end of the last one's. Each has one at least."""
    photos: Places
    """Places among all photos; of a listing each once, the main photo first."""

    @property
    def main(self) -> Places:
        return self.photos if self._one_each else self.photos[self.starts[:-1]]

    @property
    def owners(self) -> Places:
        """The place here of the listing that each of `photos` belongs to."""
        return _owners(self.starts)

    @property
    def _one_each(self) -> bool:
        return len(self.photos) == len(self.rows)

    def take(self, places: NDArray[np.integer]) -> Pictured:
        """Some of them, in this order."""
        if self._one_each:
            starts = np.arange(len(places) + 1, dtype=np.int32)
            return Pictured(self.rows[places], starts, self.photos[places])
        lengths = np.diff(self.starts)[places]
        starts = np.append(np.int32(0), np.cumsum(lengths, dtype=np.int32))
        at = np.arange(starts[-1], dtype=np.int32)
        at += np.repeat(self.starts[:-1][places] - starts[:-1], lengths)
        return Pictured(self.rows[places], starts, self.photos[at])

    def on(self, shelf: Shelf) -> Pictured:
        """The same, on a shelf."""
        return Pictured(shelf.keep(self.rows), shelf.keep(self.starts), shelf.keep(self.photos))


def _owners(starts: Places) -> Places:
    return np.repeat(np.arange(len(starts) - 1, dtype=np.int32), np.diff(starts))


def picture(spool: Spool, named: Named, photos: Photos, shelf: Shelf) -> tuple[Pictured, Losses, Losses]:
    """Listings that have a photo, those that have none, and photos that are lost to the former."""
    codes = photos.codes[named.places]
    owner = _owners(named.starts)
    good = codes >= 0
    if len(codes) > len(named.rows):  # some photos may be one of a listing twice, under two names
        kept = np.flatnonzero(good)
        number = owner[kept].astype(np.int64) * (int(codes.max(initial=0)) + 1) + codes[kept]
        again = np.ones(len(kept), bool)
        again[np.unique(number, return_index=True)[1]] = False
        good[kept[again]] = False
        del kept, number, again
    lengths = np.bincount(owner[good], minlength=len(named.rows)).astype(np.int32)
    has = lengths > 0
    starts = np.append(np.int32(0), np.cumsum(lengths[has], dtype=np.int32))
    pictured = Pictured(named.rows[has], starts, codes[good]).on(shelf)
    first = named.places[named.starts[:-1][~has]]
    without = losses(spool, named.rows[~has], *_why(photos, first), whole=True)
    refused = np.flatnonzero((codes < 0) & has[owner])
    lost = losses(spool, named.rows[owner[refused]], *_why(photos, named.places[refused]), whole=False)
    return pictured, without, _with_unusable(spool, pictured.rows, lost)


def _why(photos: Photos, places: Places) -> tuple[pa.StringArray, pa.StringArray]:
    at = pa.array(places)
    return photos.reasons.take(at), photos.details.take(at)


def _with_unusable(spool: Spool, rows: Places, lost: Losses) -> Losses:
    """Photos of listings at `rows` that the table names in a way that cannot be used, and before each listing's
    `lost` ones."""
    found, before = [], 0
    for batch in spool.batches(["listing_id", "line", "lost"]):
        at = between(rows, before, before + batch.num_rows)
        own = batch.take(pa.array(rows[at] - before))
        before += batch.num_rows
        own = own.filter(pc.is_valid(own["lost"]))
        if own.num_rows:
            parents = pc.list_parent_indices(own["lost"])
            told = own["lost"].flatten()
            ids, first = own["listing_id"].take(parents), own["line"].take(parents)
            count = pa.array(np.ones(len(told), np.int64))
            columns = [told.field("line"), ids, told.field("reason"), told.field("detail"), count, first]
            found.append(pa.table(columns, schema=_LOST))
    if not found:
        return lost
    firsts = [*lost.table.columns, lost.table["line"]]
    both = pa.concat_tables([*found, pa.table(firsts, schema=_LOST)])
    order = pc.sort_indices(both["first"])  # stable, and a listing's first line is its own
    return Losses(both.take(order).select(Losses.SCHEMA.names))


def digest_of_photos(
    facts: Facts,
    pictured: Pictured,
    photo_ids: pa.StringArray,
    without: Losses,
    lost: Losses,
    left_out: Losses,
) -> str:
    """SHA-256 of what photos are used and why others are not; `left_out` are rows that never had one.

    It is `artefacts.digest_of` of ``[{listing id: photo id, or ids}, {listing id: reason}, [[line, reason]],
    [[listing id, reason]]]``, the last where there is one, written without ever being held.
    """
    sha = hashlib.sha256(b"[{")
    for text in _separated(_used(facts, pictured, photo_ids)):
        sha.update(text)
    sha.update(b"}, {")
    gone = without.in_order("listing_id").table
    for text in _separated(_pairs(gone["listing_id"], gone["reason"], '"{}": "{}"')):
        sha.update(text)
    sha.update(b"}, [")
    for text in _separated(
        _pairs(left_out.table["line"].cast(pa.string()), left_out.table["reason"], '[{}, "{}"]')
    ):
        sha.update(text)
    if len(lost):
        sha.update(b"], [")
        for text in _separated(_pairs(lost.table["listing_id"], lost.table["reason"], '["{}", "{}"]')):
            sha.update(text)
    sha.update(b"]]")
    return sha.hexdigest()


def digest_of_texts(names: pa.StringArray, values: pa.StringArray) -> str:
    """`artefacts.digest_of` of a mapping whose names are in order."""
    sha = hashlib.sha256(b"{")
    for text in _separated(_pairs(pa.chunked_array([names]), pa.chunked_array([values]), '"{}": "{}"')):
        sha.update(text)
    sha.update(b"}")
    return sha.hexdigest()


def _used(facts: Facts, pictured: Pictured, photo_ids: pa.StringArray) -> Iterator[pa.StringArray]:
    place = np.empty(len(facts.order), np.int32)
    place[pictured.rows] = np.arange(len(pictured.rows), dtype=np.int32)
    order = place[facts.by_id(pictured.rows)]
    del place
    for at in range(0, len(order), _BLOCK):
        own = pictured.take(order[at : at + _BLOCK])
        ids = json_text(facts.ids(own.rows))
        photos = photo_ids.take(pa.array(own.photos))
        lists = pa.ListArray.from_arrays(pa.array(own.starts, pa.int32()), photos)
        joined = pc.binary_join(lists, '", "')
        quoted = pc.binary_join_element_wise('"', joined, '"', "")
        several = pc.binary_join_element_wise("[", quoted, "]", "")
        told = pc.if_else(pc.equal(pc.list_value_length(lists), 1), quoted, several)
        yield pc.binary_join_element_wise('"', ids, '": ', told, "")


def _pairs(one: pa.ChunkedArray, other: pa.ChunkedArray, shape: str) -> Iterator[pa.StringArray]:
    before, between, after = shape.split("{}")
    for at in range(0, len(one), _BLOCK):
        names, values = (json_text(x.slice(at, _BLOCK).combine_chunks()) for x in (one, other))
        yield pc.binary_join_element_wise(before, names, between, values, after, "")


def _separated(parts: Iterator[pa.StringArray]) -> Iterator[bytes]:
    """All texts, with a comma between."""
    for number, texts in enumerate(parts):
        whole = pa.ListArray.from_arrays(pa.array([0, len(texts)], pa.int32()), texts)
        yield (", " if number else "").encode() + pc.binary_join(whole, ", ")[0].as_buffer().to_pybytes()
