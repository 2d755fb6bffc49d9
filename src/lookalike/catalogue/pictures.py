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

from lookalike.catalogue.facts import Facts, losses
from lookalike.catalogue.listings import Losses
from lookalike.catalogue.spool import Spool
from lookalike.storage.artefacts import json_text

_BLOCK = 1 << 16
_LOST = Losses.SCHEMA.append(pa.field("first", pa.int64()))


@dataclass(frozen=True, slots=True)
class Named:
    """The photos that listings name."""

    rows: NDArray[np.int64]
    """Places of the listings in the catalogue."""
    starts: NDArray[np.int64]
    """Of each listing's references in `places`, and the end of the last one's."""
    places: NDArray[np.int32]
    """References, by their place in `images`."""
    images: pa.StringArray
    """Each reference once, as they come."""

    @classmethod
    def by(cls, spool: Spool, rows: NDArray[np.int64]) -> Named:
        """Those of the listings at `rows`, which are in order."""
        lengths, texts, before = [np.zeros(1, np.int64)], [], 0
        for batch in spool.batches(["images"]):
            low, high = np.searchsorted(rows, [before, before + batch.num_rows])
            lists = batch["images"]
            if high - low < len(lists):
                lists = lists.take(pa.array(rows[low:high] - before))
            lengths.append(pc.list_value_length(lists).to_numpy().astype(np.int64))
            texts.append(lists.flatten())
            before += batch.num_rows
        coded = pa.chunked_array(texts, pa.string()).dictionary_encode()
        places = [chunk.indices.to_numpy() for chunk in coded.chunks]
        images = coded.chunk(0).dictionary if places else pa.array([], pa.string())
        whole = np.concatenate([np.zeros(0, np.int32), *places])
        return cls(rows, np.cumsum(np.concatenate(lengths)), whole, images)


@dataclass(frozen=True, slots=True)
class Photos:
    """What each reference leads to."""

    codes: NDArray[np.int32]
    """Place of its photo among all photos; -1 where there is none to use."""
    reasons: pa.StringArray
    """Why not; null where there is one."""
    details: pa.StringArray


@dataclass(frozen=True, slots=True)
class Pictured:
    """Listings that have a photo."""

    rows: NDArray[np.int64]
    """Places in the catalogue."""
    starts: NDArray[np.int64]
    """Of each listing's photos in `photos`, and the end of the last one's. Each has one at least."""
    photos: NDArray[np.int32]
    """Places among all photos; of a listing each once, the main photo first."""

    @property
    def main(self) -> NDArray[np.int32]:
        return self.photos[self.starts[:-1]]

    @property
    def owners(self) -> NDArray[np.int64]:
        """The place here of the listing that each of `photos` belongs to."""
        return np.repeat(np.arange(len(self.rows)), np.diff(self.starts))

    def take(self, places: NDArray[np.int64]) -> Pictured:
        """Some of them, in this order."""
        lengths = np.diff(self.starts)[places]
        starts = np.append(0, np.cumsum(lengths))
        if len(self.photos) == len(self.rows):
            return Pictured(self.rows[places], starts, self.photos[places])
        at = np.arange(starts[-1]) + np.repeat(self.starts[:-1][places] - starts[:-1], lengths)
        return Pictured(self.rows[places], starts, self.photos[at])


def picture(spool: Spool, named: Named, photos: Photos) -> tuple[Pictured, Losses, Losses]:
    """Listings that have a photo, those that have none, and photos that are lost to the former."""
    codes = photos.codes[named.places]
    owner = np.repeat(np.arange(len(named.rows)), np.diff(named.starts))
    kept = np.flatnonzero(codes >= 0)
    if len(codes) > len(named.rows):  # some photos may be one of a listing twice, under two names
        number = owner[kept] * (int(codes.max(initial=0)) + 1) + codes[kept]
        kept = kept[np.sort(np.unique(number, return_index=True)[1])]
    lengths = np.bincount(owner[kept], minlength=len(named.rows))
    has = lengths > 0
    pictured = Pictured(named.rows[has], np.append(0, np.cumsum(lengths[has])), codes[kept])
    first = named.places[named.starts[:-1][~has]]
    without = losses(spool, named.rows[~has], *_why(photos, first), whole=True)
    refused = np.flatnonzero((codes < 0) & has[owner])
    lost = losses(spool, named.rows[owner[refused]], *_why(photos, named.places[refused]), whole=False)
    return pictured, without, _with_unusable(spool, pictured.rows, lost)


def _why(photos: Photos, places: NDArray[np.int32]) -> tuple[pa.StringArray, pa.StringArray]:
    at = pa.array(places)
    return photos.reasons.take(at), photos.details.take(at)


def _with_unusable(spool: Spool, rows: NDArray[np.int64], lost: Losses) -> Losses:
    """Photos of listings at `rows` that the table names in a way that cannot be used, and before each listing's
    `lost` ones."""
    found, before = [], 0
    for batch in spool.batches(["listing_id", "line", "lost"]):
        low, high = np.searchsorted(rows, [before, before + batch.num_rows])
        own = batch.take(pa.array(rows[low:high] - before))
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


def digest_of_texts(names: pa.ChunkedArray, values: pa.StringArray) -> str:
    """`artefacts.digest_of` of a mapping whose names are in order."""
    sha = hashlib.sha256(b"{")
    for text in _separated(_pairs(names, pa.chunked_array([values]), '"{}": "{}"')):
        sha.update(text)
    sha.update(b"}")
    return sha.hexdigest()


def _used(facts: Facts, pictured: Pictured, photo_ids: pa.StringArray) -> Iterator[pa.StringArray]:
    row_of = facts.by_id(pictured.rows)
    place = np.empty(len(facts.listing_ids), np.int64)
    place[pictured.rows] = np.arange(len(pictured.rows))
    order = place[row_of]
    for at in range(0, len(order), _BLOCK):
        own = pictured.take(order[at : at + _BLOCK])
        ids = json_text(facts.listing_ids.take(pa.array(own.rows)).combine_chunks())
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
