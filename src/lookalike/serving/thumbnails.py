"""Photos of the catalogue in the sizes that pages show.

Enters: a photo id. Leaves: a JPEG of one of a few sizes. Of the curated snapshot only `photos.parquet` is fetched;
a photo's bytes are read by range out of its pack, so a search pod needs no disk for photos. What was scaled once
is kept in memory up to a limit. A photo id is the digest of the photo, so what is served under it never changes.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from lookalike.catalogue.photo_store import PhotoStore
from lookalike.imaging import photos

SIDES = (96, 240, 480, 960)
"""Longer sides, in pixels, that are served: few, so that caches along the way meet the same ones."""


def nearest_side(wanted: int) -> int:
    """The smallest side served that is not smaller than `wanted`, or the largest."""
    return next((side for side in SIDES if side >= wanted), SIDES[-1])


class ThumbnailCache:
    """Scaled photos in memory, the least recently used ones dropped beyond `limit` bytes."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size = limit, 0
        self._kept: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, shelf: PhotoStore, photo_id: str, side: int) -> bytes | None:
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
