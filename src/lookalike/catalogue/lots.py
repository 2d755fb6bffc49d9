"""Lots: what was read of photos since the last pack was stored. It is stored as a whole: the pack, then what is in it,
then what was seen. Packs of a few new photos each are merged once there are many.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from lookalike.catalogue.packs import PackWriter
from lookalike.catalogue.photo_log import PhotoLog, packs_of
from lookalike.catalogue.places import Version
from lookalike.catalogue.rules import CurationConfig
from lookalike.imaging.photos import PreparedPhoto

MOST_SMALL, SMALL_PART = 16, 8
"""Packs of less than an eighth of the size of packs are merged where a catalogue needs more than so many."""
_READERS = 16
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a photo is not used: a stable word or two, and a sentence."""

    reason: str
    detail: str


class Lot:
    """What was read since the last pack was stored."""

    def __init__(self, log: PhotoLog, folder: Path) -> None:
        self._log, self._folder = log, folder
        self._pack: PackWriter | None = None
        self._photos: list[dict[str, Any]] = []
        self._seen: list[dict[str, Any]] = []

    @property
    def size(self) -> int:
        """Bytes of the pack so far."""
        return self._pack.size if self._pack else 0

    @property
    def rows(self) -> int:
        """How much was seen so far."""
        return len(self._seen)

    def add(self, photo_id: str, photo: PreparedPhoto) -> None:
        self._pack = self._pack or PackWriter(self._folder)
        self._photos.append(
            {
                "photo_id": photo_id,
                "offset": self._pack.add(photo_id, photo.stored),
                "length": len(photo.stored),
                **described(photo),
            }
        )

    def move(self, row: Mapping[str, Any], data: bytes) -> None:
        """A photo that the log knows, out of another pack."""
        self._pack = self._pack or PackWriter(self._folder)
        place = {"offset": self._pack.add(row["photo_id"], data), "length": len(data)}
        self._photos.append({name: value for name, value in row.items() if value is not None} | place)

    def refuse(self, photo_id: str, refusal: Refusal) -> None:
        self._photos.append({"photo_id": photo_id, "reason": refusal.reason, "detail": refusal.detail})

    def see(self, version: Version, **what: str) -> None:
        if version.token:
            self._seen.append({"address": version.address, "version": version.token, **what})

    def store(self) -> None:
        """Store the pack, then what is in it, then what was seen."""
        if self._pack is not None:
            pack = self._pack.store(self._log.store)
            place = {"pack": pack.key, "pack_sha256": pack.sha256, "pack_size": pack.size}
            self._photos = [row if "reason" in row else row | place for row in self._photos]
        self._log.add(self._photos, self._seen)
        self._pack, self._photos, self._seen = None, [], []

    def discard(self) -> None:
        if self._pack is not None:
            self._pack.discard()


def merge_packs(log: PhotoLog, photo_ids: pa.StringArray, config: CurationConfig, folder: Path) -> None:
    """Put photos of many small packs into few large ones; snapshots from now on refer to these.

    The small ones stay, for snapshots that refer to them; retention removes them with the last of these.
    """
    rows = log.photos.filter(pc.is_in(log.photos["photo_id"], photo_ids))
    small = [pack.key for pack in packs_of(rows) if pack.size < config.shard_bytes / SMALL_PART]
    if len(small) <= MOST_SMALL:
        return
    moved = rows.filter(pc.is_in(rows["pack"], pa.array(small, pa.string()))).sort_by("photo_id")
    lot = Lot(log, folder)

    def read(row: Mapping[str, Any]) -> bytes:
        return log.store.get(row["pack"], start=row["offset"], length=row["length"])

    try:
        for row, data in in_order(read, moved.to_pylist(), _READERS):
            if lot.size and lot.size + len(data) > config.shard_bytes:
                lot.store()
            lot.move(row, data)
        lot.store()
        log.settle()
    finally:
        lot.discard()


def described(photo: PreparedPhoto) -> Mapping[str, Any]:
    """What the log says of a photo beside where it lies."""
    return {
        "width": photo.info.width,
        "height": photo.info.height,
        "phash": photo.phash,
        "deviation": float(photo.prints[0].reshape(-1, 3).std(axis=0).max()),
        "prints": photo.prints,
    }


def in_order(
    work: Callable[[_Item], _Result], items: Iterable[_Item], threads: int
) -> Iterator[tuple[_Item, _Result]]:
    """`work` on every item by a pool of threads; results in the order of the items, few of them in memory."""
    waiting: deque[tuple[_Item, Future[_Result]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append((item, pool.submit(work, item)))
                if len(waiting) > 8 * threads:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
