"""The queries of an evaluation: listings of a labelled catalogue, whose photos are asked about.

Enters: the address of a catalogue. Leaves: first the listings that are to be asked about, then those whose photo could
be read, with what the encoder says of it. So a name that is wrong is known before anything is fetched.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.listings import Catalogue, Listing
from lookalike.coding import codes
from lookalike.coding.encoder import Encoder, Encoding
from lookalike.errors import CatalogueError, LookalikeError
from lookalike.imaging import photos
from lookalike.progress import Progress, silent


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be asked: the listings of a catalogue, or those of one of its splits."""

    catalogue: Catalogue
    split: str | None
    listings: list[Listing]

    @classmethod
    def of(cls, catalogue: Catalogue, split: str | None) -> Self:
        """Raises `CatalogueError` where there is no listing of `split`."""
        wanted = [row for row in catalogue.listings if split in (None, row.split)]
        if not wanted:
            splits = sorted({row.split or "(none)" for row in catalogue.listings})
            raise CatalogueError(
                f"{catalogue.uri}: no listing of split {split!r}; there are {', '.join(splits)}"
            )
        return cls(catalogue, split, wanted)


@dataclass(slots=True)
class Queries:
    """The photos that were asked about and could be read, with their encoding: every photo of every listing."""

    catalogue: Catalogue
    listings: list[Listing]
    """The listing of each photo."""
    images: list[str]
    """By which reference its listing names it."""
    photo_ids: NDArray[np.str_]
    categories: NDArray[np.str_]
    """The known category that holds the query's: itself or the nearest parent; empty where there is none."""
    encoding: Encoding
    rejected: list[str] = field(default_factory=list)


def encode_queries(
    asked: Asked,
    encoder: Encoder,
    indexed: Sequence[str],
    progress: Progress = silent,
    *,
    batch: int = 16,
) -> Queries:
    """Encode the queries' photos; one that cannot be read is reported in `rejected` and left out.

    Raises `CatalogueError` where none can.
    """
    catalogue, wanted = asked.catalogue, asked.listings
    known = {*encoder.card.categories, *indexed}
    listings, images, ids, encodings = [], [], [], []
    waiting: list[NDArray[np.uint8]] = []
    rejected = (
        [f"line {row.line}: {row.reason} {row.detail}" for row in catalogue.left_out]
        if asked.split is None
        else []
    )
    named = [(row, image) for row in wanted for image in row.images]
    for done, (row, image) in enumerate(named, 1):
        try:
            data = catalogue.photo(image)
            waiting.append(photos.load_square(data, encoder.card.preset.resize))
        except LookalikeError as error:
            rejected.append(f"line {row.line}: {error}")
            continue
        listings.append(row)
        images.append(image)
        ids.append(codes.photo_id(data))
        if len(waiting) == batch:
            encodings.append(encoder.encode(np.stack(waiting)))
            waiting.clear()
        progress("encode queries", done, len(named))
    if not listings:
        raise CatalogueError(
            f"{catalogue.uri}: none of {len(named)} query photos could be read: {rejected[0]}"
        )
    if waiting:
        encodings.append(encoder.encode(np.stack(waiting)))
    joined = Encoding(
        *(np.concatenate([getattr(e, f.name) for e in encodings]) for f in dataclasses.fields(Encoding))
    )
    categories = np.array([_known_category(row.category, known) for row in listings])
    return Queries(catalogue, listings, images, np.array(ids), categories, joined, rejected)


def _known_category(category: str, known: set[str]) -> str:
    while category and category not in known:
        category = category.rpartition("/")[0]
    return category
