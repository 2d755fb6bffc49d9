"""Kept listings: those that a snapshot holds, as columns in the order of their ids, and what of them a report asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lookalike.catalogue.coded import Coded
from lookalike.catalogue.pictures import Pictured
from lookalike.catalogue.shelf import Places
from lookalike.catalogue.splits import Splits


@dataclass(frozen=True, slots=True)
class Kept:
    """Numbers of texts follow the order of the texts."""

    pictured: Pictured
    """Where they stand in the catalogue, and their photos."""
    listing_ids: pa.StringArray
    category: Places
    """Place of the category to learn in `categories`."""
    categories: Sequence[str]
    source: Coded
    """The category as the catalogue has it."""
    product: Coded
    seller: Coded
    splits: Splits
    sides: Sequence[str]
    """What the numbers of `splits.split` stand for."""
    photo_ids: pa.StringArray
    """Of all good photos, in order."""

    def __len__(self) -> int:
        return len(self.category)

    def showing(self) -> NDArray[np.int64]:
        """How many listings show each photo."""
        return np.bincount(self.pictured.photos, minlength=len(self.photo_ids))

    def ids(self, places: NDArray[np.integer]) -> list[str]:
        """Of the listings at these places."""
        found: list[str] = self.listing_ids.take(pa.array(places)).to_pylist()
        return found

    def photos(self, numbers: NDArray[np.integer]) -> list[str]:
        """Ids of photos."""
        found: list[str] = self.photo_ids.take(pa.array(numbers)).to_pylist()
        return found

    def shown_by(self, photo: int, most: int) -> list[str]:
        """The ids of the first listings that show a photo."""
        at = np.flatnonzero(self.pictured.photos == photo)[:most]
        return self.ids(np.searchsorted(self.pictured.starts, at, "right") - 1)

    def sides_by_category(self) -> NDArray[np.int64]:
        """int64[categories, sides]: listings."""
        width = len(self.sides)
        numbers = self.category.astype(np.int64) * width + self.splits.split
        return np.bincount(numbers, minlength=len(self.categories) * width).reshape(-1, width)

    def photos_by_category(self) -> NDArray[np.int64]:
        """int64[categories]: distinct photos."""
        category = self.category[self.pictured.owners].astype(np.int64)
        numbers = np.unique(category * len(self.photo_ids) + self.pictured.photos)
        return np.bincount(numbers // max(1, len(self.photo_ids)), minlength=len(self.categories))

    def first_photos(self, category: int, most: int) -> NDArray[np.int32]:
        """The first main photos of a category's listings, each once."""
        main = self.pictured.main[self.category == category]
        found: NDArray[np.int32] = main[np.sort(np.unique(main, return_index=True)[1])[:most]]
        return found


def distinct(coded: Coded) -> int:
    """How many texts are stated."""
    return int(np.count_nonzero(np.bincount(coded.codes + 1)[1:]))
