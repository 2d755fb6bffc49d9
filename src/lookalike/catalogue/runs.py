"""Runs: references to photos enter, photo ids leave, and whatever is new is in the photo log.

Each photo is read once, on a thread pool: identified (MD5 of the bytes) and, where its run does not know it, decoded,
described and put into a pack. Threads decode as many photos at a time as a limit of memory allows (`decoding_mb` of the
table `catalogue`). Every pack that is full is stored, with what it holds and what was seen, before the next begins
(`lots`), and no pack holds photos of two runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.budget import Budget
from lookalike.catalogue.lots import Lot, Refusal, in_order
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.places import PhotoPlaces, Version
from lookalike.catalogue.rules import CurationConfig
from lookalike.errors import (
    AccessDenied,
    ObjectNotFound,
    PhotoError,
    PhotoOutside,
    StorageError,
    StoreUnavailable,
)
from lookalike.imaging.photos import PreparedPhoto, foresee_preparing, prepare
from lookalike.settings import CatalogueSettings, available_cores, load

_REASONS = {
    "type": "not a photo",
    "empty": "not a photo",
    "truncated": "truncated",
    "damaged": "damaged",
    "bytes": "too large",
    "pixels": "too large",
    "effort": "too large",
}
DENIED = "access denied"
_ROWS_OF_A_LOT = 4096
"""Photos after which what was learned is stored, though the pack is not full."""
_WEB_PHOTOS_OF_A_LOT = 2000
"""The same for photos of the web, which take longer to read again than to pack."""

Found = tuple[int, str | None]
"""The place of a reference, and the id of the photo that it led to, if to any."""


class Known:
    """Ids of photos that a run does not store again: what was known before, and what the run itself has met."""

    def __init__(self, before: NDArray[np.bytes_], own: Iterable[str] = ()) -> None:
        """`before` is in order: S32[photos]."""
        self._before, self._own = before, set(own)

    def __contains__(self, photo_id: str) -> bool:
        if photo_id in self._own:
            return True
        at = int(np.searchsorted(self._before, photo_id.encode()))
        return at < len(self._before) and bool(self._before[at] == photo_id.encode())

    def add(self, photo_id: str) -> None:
        self._own.add(photo_id)


def _nothing(found: Sequence[Found]) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Run:
    """References that are read together."""

    places: NDArray[np.int64]
    known: Known
    keep: Callable[[Sequence[Found]], None] = _nothing
    """Called with what was found, each time that the log has learned it."""


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading one photo gave; `prepared` is None where the run knows the photo already."""

    photo_id: str
    version: Version
    prepared: PreparedPhoto | Refusal | None


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads photos of one catalogue into one log."""

    places: PhotoPlaces
    log: PhotoLog
    config: CurationConfig
    folder: Path
    """Packs are put together in it."""
    note: Callable[[], None]
    """Called with each pack, so that the work is known to go on."""

    def read(
        self, images: pa.StringArray, size: Callable[[int], int | None], runs: Sequence[Run]
    ) -> Iterator[tuple[int, str | Refusal]]:
        """The place of each reference of the runs, in order, and its photo's id or why there is none.

        `size` gives the bytes of the photo at a place, where they are known. That a photo cannot be decoded stands in
        the log; its reference has a photo id nevertheless. Raises `StoreUnavailable` where photos lie in a store that
        does not answer.
        """
        on_web = pc.any(pc.starts_with(images, "http", ignore_case=True)).as_py()
        most = _WEB_PHOTOS_OF_A_LOT if on_web else _ROWS_OF_A_LOT
        local = not len(images) or self.places.is_local(images[0].as_py())
        threads = available_cores() if local else max(16, available_cores())  # elsewhere it is mostly waiting
        budget = Budget(load(CatalogueSettings).decoding_mb * 1_000_000)
        lot = Lot(self.log, self.folder)
        found: list[Found] = []

        def read(item: tuple[Run, int]) -> _Read | Refusal | tuple[Refusal, Version]:
            run, place = item
            return self._read(images[place].as_py(), size(place), run.known, budget)

        def store(run: Run) -> None:
            lot.store()
            if found:
                run.keep(found)
            found.clear()
            self.note()

        items = ((run, place) for run in runs for place in run.places.tolist())
        before: Run | None = None
        try:
            for (run, place), result in in_order(read, items, threads):
                if before is not None and run is not before:
                    store(before)
                before = run
                if isinstance(result, _Read):
                    new = result.photo_id not in run.known
                    if isinstance(result.prepared, PreparedPhoto) and new:
                        if lot.size and lot.size + len(result.prepared.stored) > self.config.shard_bytes:
                            store(run)
                        lot.add(result.photo_id, result.prepared)
                    elif isinstance(result.prepared, Refusal) and new:
                        lot.refuse(result.photo_id, result.prepared)
                    run.known.add(result.photo_id)
                    lot.see(result.version, photo_id=result.photo_id)
                    found.append((place, result.photo_id))
                    yield place, result.photo_id
                else:
                    refusal, version = result if isinstance(result, tuple) else (result, None)
                    if version is not None:
                        lot.see(version, reason=refusal.reason, detail=refusal.detail)
                    found.append((place, None))
                    yield place, refusal
                if lot.rows >= most:
                    store(run)
            if before is not None:
                store(before)
        finally:
            lot.discard()

    def _read(
        self, image: str, size: int | None, known: Known, budget: Budget
    ) -> _Read | Refusal | tuple[Refusal, Version]:
        config = self.config
        max_bytes = config.limits.max_bytes
        try:
            data, version = self.places.read_version(image, length=max_bytes + 1, size=size)
        except PhotoOutside as error:
            return Refusal("outside the catalogue", str(error))
        except ObjectNotFound:
            return Refusal("missing", f"there is no photo {image}")
        except AccessDenied as error:
            return Refusal(DENIED, f"{image} cannot be read, or does not exist: {error}")
        except StoreUnavailable as error:
            if not self.places.is_local(image):
                raise  # the service is down; every other photo would fail as well
            return Refusal("unreadable", f"{image} cannot be read: {error}")
        except StorageError as error:
            return Refusal("unreadable", f"{image} cannot be read: {error}")
        if len(data) > max_bytes:
            return Refusal("too large", f"{image} has more than the {max_bytes:,} bytes allowed"), version
        photo_id = hashlib.md5(data, usedforsecurity=False).hexdigest()
        if photo_id in known:
            return _Read(photo_id, version, None)
        shrunk, limits = config.shrunk_side, config.limits
        try:
            with budget.taken(len(data) + foresee_preparing(data, shrunk_side=shrunk, limits=limits)):
                prepared = prepare(data, keep_side=config.keep_side, shrunk_side=shrunk, limits=limits)
        except PhotoError as error:
            return _Read(photo_id, version, Refusal(_REASONS[error.rule], str(error)))
        return _Read(photo_id, version, prepared)
