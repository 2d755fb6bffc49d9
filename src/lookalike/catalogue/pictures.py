"""Pictured listings: listings with the photos that are left of those the catalogue names.

A photo that cannot be used is lost to its listing, which goes on with the others: the first good one is its main photo.
A listing that loses all of them is left out, for the reason of its first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lookalike.catalogue.intake import Refusal
from lookalike.catalogue.listings import LeftOut, Listing
from lookalike.storage.artefacts import digest_of


@dataclass(frozen=True, slots=True)
class Pictured:
    """A listing and its photos."""

    listing: Listing
    photo_ids: tuple[str, ...]
    """At least one, each once; the first is the main photo."""
    lost: tuple[LeftOut, ...]
    """Photos that cannot be used."""


def picture(
    listings: Sequence[Listing], photos: Mapping[str, str | Refusal]
) -> tuple[list[Pictured], list[LeftOut]]:
    """Listings that have a photo, and those that have none. `photos` says what each reference leads to."""
    pictured: list[Pictured] = []
    left_out: list[LeftOut] = []
    for listing in listings:
        good: dict[str, None] = {}
        refused: list[Refusal] = []
        for image in listing.images:
            photo = photos[image]
            if isinstance(photo, Refusal):
                refused.append(photo)
            else:
                good[photo] = None
        if not good:
            why = refused[0]
            left_out.append(LeftOut(listing.line, listing.listing_id, why.reason, why.detail, listing.rows))
            continue
        lost = [LeftOut(listing.line, listing.listing_id, x.reason, x.detail) for x in refused]
        pictured.append(Pictured(listing, tuple(good), (*listing.lost, *lost)))
    return pictured, left_out


def digest_of_photos(
    pictured: Sequence[Pictured], without: Sequence[LeftOut], left_out: Sequence[LeftOut]
) -> str:
    """SHA-256 of what photos are used and why others are not; `left_out` are rows that never had one."""
    photo_ids = {
        x.listing.listing_id: x.photo_ids[0] if len(x.photo_ids) == 1 else list(x.photo_ids) for x in pictured
    }
    refused = {row.listing_id: row.reason for row in without}
    before = [(row.line, row.reason) for row in left_out]
    lost = [(row.listing_id, row.reason) for x in pictured for row in x.lost]
    return digest_of([photo_ids, refused, before, *([lost] if lost else [])])
