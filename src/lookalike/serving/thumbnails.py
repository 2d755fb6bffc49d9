"""Photos of the catalogue in the sizes that pages show.

Enters: a photo id. Leaves: a JPEG of one of a few sizes. Of the curated snapshot only `photos.parquet` is fetched;
a photo's bytes are read by range out of its shard, so a search pod needs no disk for photos. What was scaled once
is kept in memory up to a limit. A photo id is the digest of the photo, so what is served under it never changes.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.catalogue.snapshot import PHOTOS, shard_name
from lookalike.errors import CorruptObject
from lookalike.imaging import photos
from lookalike.storage.artefacts import Artefact
from lookalike.storage.objects import ObjectStore

SIDES = (96, 240, 480, 960)
"""Longer sides, in pixels, that are served: few, so that caches along the way meet the same ones."""


def nearest_side(wanted: int) -> int:
    """The smallest side served that is not smaller than `wanted`, or the largest."""
    return next((side for side in SIDES if side >= wanted), SIDES[-1])


class PhotoShelf:
    """The photos of one curated snapshot, where they lie. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, curated: Artefact) -> None:
        """None are known where the table was not fetched. Raises `CorruptObject` where it is not one."""
        self.ref, self._store, self._manifest = curated.ref, store, curated.manifest
        if PHOTOS not in curated.paths:
            self._ids, self._places = np.empty(0, "S32"), np.empty((0, 3), np.int64)
            return
        try:
            table = pq.read_table(curated.path(PHOTOS), columns=["photo_id", "shard", "offset", "length"])
        except (pa.ArrowException, OSError) as error:
            message = f"{curated.ref}: {PHOTOS} is not readable as Parquet: {error}"
            raise CorruptObject(PHOTOS, message) from error
        self._ids = np.array(table["photo_id"].to_pylist(), dtype="S32")
        self._places = np.stack(
            [table[c].to_numpy().astype(np.int64) for c in ("shard", "offset", "length")], 1
        )

    def __contains__(self, photo_id: str) -> bool:
        return self._row(photo_id) is not None

    def photo_bytes(self, photo_id: str) -> bytes | None:
        """The photo as curation kept it, or None where this snapshot has no such photo. Raises `StorageError`."""
        row = self._row(photo_id)
        if row is None:
            return None
        shard, offset, length = map(int, self._places[row])
        entry = self._manifest.file(shard_name(shard))
        return self._store.get(entry.key, start=offset, length=length)

    def _row(self, photo_id: str) -> int | None:
        wanted = photo_id.encode("ascii", "replace")
        if len(wanted) != self._ids.itemsize:  # numpy would widen the whole table to a stranger's length
            return None
        row = int(np.searchsorted(self._ids, wanted))
        return row if row < len(self._ids) and self._ids[row] == wanted else None


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
        data = shelf.photo_bytes(photo_id)
        if data is None:
            return None
        scaled = photos.thumbnail(data, side)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = scaled
                self.size += len(scaled)
            while self.size > self.limit and len(self._kept) > 1:
                _, dropped = self._kept.popitem(last=False)
                self.size -= len(dropped)
        return scaled
