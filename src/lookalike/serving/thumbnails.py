"""Photos of the catalogue in the sizes that pages show.

Enters: a photo id. Leaves: a JPEG of one of a few sizes. Of the curated snapshot only `photos.parquet` is fetched;
a photo's bytes are read by range out of its pack, so a search pod needs no disk for photos. What was scaled once
is kept in memory up to a limit. A photo id is the digest of the photo, so what is served under it never changes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.photo_store import PhotoStore
from lookalike.errors import CorruptObject
from lookalike.imaging import photos
from lookalike.index.generation import PLACES
from lookalike.storage.artefacts import Artefact
from lookalike.storage.objects import ObjectStore

SIDES = (96, 240, 480, 960)
"""Longer sides, in pixels, that are served: few, so that caches along the way meet the same ones."""


def nearest_side(wanted: int) -> int:
    """The smallest side served that is not smaller than `wanted`, or the largest."""
    return next((side for side in SIDES if side >= wanted), SIDES[-1])


class PhotoShelf:
    """The photos of a curated snapshot and those that deltas name beside them. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, photos: PhotoStore, deltas: Sequence[Artefact] = ()) -> None:
        """`deltas` are fetched. Raises `CorruptObject` where the table of one is none."""
        self.photos, self._store = photos, store
        self._added: dict[str, tuple[str, int, int]] = {}
        for delta in (delta for delta in deltas if PLACES in delta.paths):
            try:
                table = pq.read_table(delta.path(PLACES), columns=["photo_id", "object", "offset", "length"])
            except (pa.ArrowException, OSError) as error:
                message = f"{delta.ref}: {PLACES} is not readable as Parquet: {error}"
                raise CorruptObject(PLACES, message) from error
            ids, *places = (table[name].to_pylist() for name in table.column_names)
            self._added |= zip(ids, zip(*places, strict=True), strict=True)

    def __contains__(self, photo_id: str) -> bool:
        return photo_id in self._added or photo_id in self.photos

    def peek(self, photo_id: str) -> bytes:
        """A photo read by range, as `PhotoStore.peek` does. Raises `KeyError` and `StorageError`."""
        if photo_id not in self._added:
            return self.photos.peek(photo_id)
        key, offset, length = self._added[photo_id]
        return self._store.get(key, start=offset, length=length)


class ThumbnailCache:
    """Scaled photos in memory, the least recently used ones dropped beyond `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, shelf: PhotoShelf, photo_id: str, side: int) -> bytes | None:
        """A JPEG whose longer side is `side` pixels at most; None where `shelf` has no such photo."""
        key = (photo_id, side)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        if photo_id not in shelf:
            return None
        scaled = photos.thumbnail(shelf.peek(photo_id), side)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = scaled
                self.size += len(scaled)
            while self.size > self.limit and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self.size -= len(dropped)
        return scaled
