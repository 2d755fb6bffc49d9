"""The photos of one curated snapshot, where its packs lie: the one way for training, extraction, pages and reports.

Enters: a photo id. Leave: its bytes as curation stored them, the original or a smaller JPEG of it. Whoever reads many
photos maps whole packs, each fetched and verified when its first photo is asked for; whoever shows a few reads them by
range and needs no disk. Whoever reads some goes through them pack by pack (`in_packs`), and reads each pack in the way
that costs less (`reader`). Packs that nobody asks for are never fetched.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lookalike.errors import CorruptObject
from lookalike.storage.artefacts import FileEntry, Manifest, fetch_file
from lookalike.storage.objects import ObjectStore

_MANY = 4
"""A pack is fetched whole where at least one in so many of its bytes are wanted."""


def shard_name(number: int) -> str:
    """What a snapshot calls one of its packs."""
    return f"photos-{number:05d}.tar"


def is_shard(name: str) -> bool:
    """Whether a file of a snapshot is a pack of photos: nearly all of its bytes."""
    return name.endswith(".tar")


@dataclass(frozen=True, slots=True)
class PhotoPlace:
    """A photo's bytes in a pack on this machine."""

    path: Path
    offset: int
    length: int


class PhotoStore:
    """Photos by their ids. Safe to use from several threads."""

    def __init__(
        self, store: ObjectStore, manifest: Manifest, photos: pa.Table | None, cache_dir: Path
    ) -> None:
        """`photos` has the columns photo_id, shard, offset and length, sorted by id; no photo is known without it.

        Raises `CorruptObject` where it names what is no photo id, or a place outside of the snapshot's packs.
        """
        self._store, self._manifest, self._cache = store, manifest, cache_dir
        self._ids, self._at = np.empty(0, "S32"), np.empty((0, 3), np.int64)
        self._mapped: dict[int, mmap.mmap] = {}
        self._lock = Lock()
        if photos is None or photos.num_rows == 0:
            self._entries: Mapping[int, FileEntry] = {}
            return
        wrong = pc.index(pc.match_substring_regex(photos["photo_id"], "^[0-9a-f]{32}$"), False).as_py()
        if wrong >= 0:
            raise self._corrupt(
                f"has the photo id {photos['photo_id'][wrong].as_py()!r}; an MD5 was expected"
            )
        self._ids = np.array(photos["photo_id"].to_numpy(zero_copy_only=False), dtype="S32")
        self._at = np.stack(
            [photos[name].to_numpy().astype(np.int64) for name in ("shard", "offset", "length")], 1
        )
        numbers, inverse = np.unique(self._at[:, 0], return_inverse=True)
        self._entries = {int(n): manifest.file(shard_name(int(n))) for n in numbers}
        sizes = np.array([self._entries[int(n)].size for n in numbers])[inverse]
        _, offset, length = self._at.T
        outside = np.flatnonzero((offset < 0) | (length < 1) | (offset + length > sizes))
        if len(outside):
            photo_id, shard = self._ids[outside[0]].decode(), int(self._at[outside[0], 0])
            raise self._corrupt(f"places photo {photo_id} outside of {shard_name(shard)}")

    def __contains__(self, photo_id: str) -> bool:
        return self._row(photo_id) is not None

    @property
    def in_packs(self) -> pa.Array:
        """utf8[photos]: all ids in the order in which their bytes lie, pack by pack."""
        order = np.lexsort((self._at[:, 1], self._at[:, 0]))
        return pa.array(self._ids[order]).cast(pa.utf8())

    def reader(self, photo_ids: Sequence[str]) -> Callable[[str], bytes]:
        """What reads these photos, which must be known: out of packs of which much is wanted, by range from others.

        It raises as `photo_bytes` and `peek` do.
        """
        rows = np.searchsorted(self._ids, np.array(photo_ids, self._ids.dtype))
        shards, inverse = np.unique(self._at[rows, 0], return_inverse=True)
        wanted = np.bincount(inverse, weights=self._at[rows, 2], minlength=len(shards))
        entries = [self._entries[int(shard)] for shard in shards]
        few = {
            int(shard)
            for shard, entry, length in zip(shards, entries, wanted, strict=True)
            if _MANY * length < entry.size and not self._is_here(entry)
        }
        return lambda photo_id: (self.peek if self._found(photo_id)[0] in few else self.photo_bytes)(photo_id)

    def _is_here(self, entry: FileEntry) -> bool:
        """Whether a pack is on this machine's disk."""
        return self._store.local_path(entry.key) is not None or (self._cache / entry.key).exists()

    def photo_bytes(self, photo_id: str) -> bytes:
        """A photo out of its mapped pack. Raises `KeyError`, `StorageError`, or `CorruptObject` naming the pack."""
        shard, offset, length = self._found(photo_id)
        return self._pack(shard)[offset : offset + length]

    def peek(self, photo_id: str) -> bytes:
        """A photo read by range: no pack is fetched for it. Raises `KeyError` and `StorageError`."""
        shard, offset, length = self._found(photo_id)
        return self._store.get(self._entries[shard].key, start=offset, length=length)

    def place(self, photo_id: str) -> PhotoPlace:
        """Where `photo_bytes` are, for a reader in another process; its pack is fetched. Raises as that does."""
        shard, offset, length = self._found(photo_id)
        self._pack(shard)
        local = self._store.local_path(self._entries[shard].key)
        return PhotoPlace(local or self._cache / self._entries[shard].key, offset, length)

    def _pack(self, shard: int) -> mmap.mmap:
        with self._lock:
            if shard not in self._mapped:
                path = fetch_file(self._store, self._entries[shard], self._cache)
                with path.open("rb") as file:
                    self._mapped[shard] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return self._mapped[shard]

    def _found(self, photo_id: str) -> tuple[int, int, int]:
        row = self._row(photo_id)
        if row is None:
            raise KeyError(photo_id)
        shard, offset, length = map(int, self._at[row])
        return shard, offset, length

    def _row(self, photo_id: str) -> int | None:
        wanted = photo_id.encode("ascii", "replace")
        if len(wanted) != self._ids.itemsize:  # numpy would widen the whole table to a stranger's length
            return None
        row = int(np.searchsorted(self._ids, wanted))
        return row if row < len(self._ids) and self._ids[row] == wanted else None

    def _corrupt(self, what: str) -> CorruptObject:
        key = self._manifest.file("photos.parquet").key
        return CorruptObject(key, f"{key} {what}")
