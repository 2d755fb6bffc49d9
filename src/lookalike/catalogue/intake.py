"""Intake: references to photos enter, photo ids leave, and whatever is new is in the photo log.

A photo whose version the log has seen is not read. Any other is read once, on a thread pool: identified (MD5 of the
bytes) and, where the log does not know it either, decoded, described and put into a pack. Threads decode as many
photos at a time as a limit of memory allows (`decoding_mb` of the table `catalogue`). Every pack that is full is
stored, with what it holds and what was seen, before the next begins (`photo_log`); so a run that was killed goes on
after its last pack, and makes the same packs as one that was not. Packs of a few new photos each are merged once there
are many.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lookalike.catalogue.budget import Budget
from lookalike.catalogue.listings import Catalogue
from lookalike.catalogue.packs import PackWriter
from lookalike.catalogue.photo_log import PhotoLog, packs_of
from lookalike.catalogue.places import Version
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.web_photos import is_web
from lookalike.errors import (
    AccessDenied,
    ObjectNotFound,
    PhotoError,
    PhotoOutside,
    StorageError,
    StoreUnavailable,
)
from lookalike.imaging.photos import PreparedPhoto, foresee_preparing, prepare
from lookalike.progress import Progress
from lookalike.settings import CatalogueSettings, available_cores, load
from lookalike.storage.objects import ObjectStore

_REASONS = {
    "type": "not a photo",
    "empty": "not a photo",
    "truncated": "truncated",
    "damaged": "damaged",
    "bytes": "too large",
    "pixels": "too large",
    "effort": "too large",
}
_DENIED = "access denied"
_ROWS_OF_A_LOT = 20_000
"""Photos after which what was learned is stored, though the pack is not full."""
_WEB_PHOTOS_OF_A_LOT = 2_000
"""The same for photos of the web, which take longer to read again than to pack."""
MOST_SMALL, SMALL_PART = 16, 8
"""Packs of less than an eighth of the size of packs are merged where a catalogue needs more than so many."""
_READERS = 16
_ASKED = 1 << 16
"""Files that are asked for their version at a time."""
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a photo is not used: a stable word or two, and a sentence."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Read:
    """What reading one photo gave; `prepared` is None where the log knows the photo already."""

    photo_id: str
    version: Version
    prepared: PreparedPhoto | Refusal | None


def take_in(
    catalogue: Catalogue,
    images: pa.StringArray,
    log: PhotoLog,
    store: ObjectStore,
    config: CurationConfig,
    *,
    folder: Path,
    note: Callable[[], None],
    progress: Progress,
) -> Taken:
    """Every reference's photo id, or why there is none. What is new is in `log` afterwards, and its packs in `store`.

    Packs are put together in `folder`; `note` is called with each, so that the work is known to go on. That a photo
    cannot be decoded stands in the log; its reference has a photo id nevertheless.

    Raises `StoreUnavailable` where photos lie in a store that does not answer, and `AccessDenied` where some are denied
    and none can be read: then it is not the photos.
    """
    found, sizes = _seen(catalogue, images, log)
    new = np.flatnonzero((found.ids == b"") & ~found.is_refused())
    progress("read photos", len(images) - len(new), len(images), f"{len(new):,} new")
    in_log = _Known(log)
    lot = _Lot(store, log, folder)
    named = images.take(pa.array(new)).to_pylist()
    most = _WEB_PHOTOS_OF_A_LOT if any(map(is_web, named)) else _ROWS_OF_A_LOT
    budget = Budget(load(CatalogueSettings).decoding_mb * 1_000_000)

    def read(place: int) -> _Read | Refusal | tuple[Refusal, Version]:
        return _read(catalogue, images[place].as_py(), sizes.get(place), config, in_log, budget)

    try:
        threads = _threads(catalogue, named)
        for done, (place, result) in enumerate(
            in_order(read, new.tolist(), threads), len(images) - len(new) + 1
        ):
            if isinstance(result, _Read):
                found.ids[place] = result.photo_id.encode()
                if isinstance(result.prepared, PreparedPhoto) and result.photo_id not in in_log:
                    if lot.size and lot.size + len(result.prepared.stored) > config.shard_bytes:
                        lot.store()
                        note()
                    lot.add(result.photo_id, result.prepared)
                elif isinstance(result.prepared, Refusal) and result.photo_id not in in_log:
                    lot.refuse(result.photo_id, result.prepared)
                in_log.add(result.photo_id)
                lot.see(result.version, photo_id=result.photo_id)
            else:
                refusal, version = result if isinstance(result, tuple) else (result, None)
                found.refused[place] = refusal
                if version is not None:
                    lot.see(version, reason=refusal.reason, detail=refusal.detail)
            if lot.rows >= most:
                lot.store()
                note()
            progress("read photos", done, len(images), f"{len(new):,} new")
        lot.store()
        if lot.stored:
            merge_packs(log, store, found.photo_ids(), config, folder)
            log.compact()
    finally:
        lot.discard()
    denied = [x.detail for x in found.refused.values() if x.reason == _DENIED]
    if denied and not (found.ids != b"").any():
        message = f"none of {len(images):,} photos can be read, and access to {len(denied):,} is denied"
        raise AccessDenied(catalogue.uri, f"{catalogue.uri}: {message}; the first: {denied[0]}")
    return found


@dataclass(frozen=True, slots=True)
class Taken:
    """What references lead to, by their places."""

    ids: NDArray[np.bytes_]
    """Of photos: S32[n], empty where there is none."""
    refused: dict[int, Refusal]
    """Why there is none."""

    def photo_ids(self) -> pa.StringArray:
        """Each once, in order."""
        distinct = np.unique(self.ids)
        return pa.array(distinct[distinct != b""]).cast(pa.string())

    def is_refused(self) -> NDArray[np.bool_]:
        """bool[n]."""
        found = np.zeros(len(self.ids), bool)
        found[list(self.refused)] = True
        return found


class _Known:
    """Ids of photos that the log knows, or that were read by now."""

    def __init__(self, log: PhotoLog) -> None:
        self._log, self._new = log, set[str]()
        self._sorted: NDArray[np.bytes_] | None = None

    def __contains__(self, photo_id: str) -> bool:
        if photo_id in self._new:
            return True
        if self._sorted is None:  # the first time that a photo is read
            self._sorted = np.sort(self._log.photos["photo_id"].to_numpy().astype("S32"))
        at = int(np.searchsorted(self._sorted, photo_id.encode()))
        return at < len(self._sorted) and self._sorted[at] == photo_id.encode()

    def add(self, photo_id: str) -> None:
        self._new.add(photo_id)


def _seen(catalogue: Catalogue, images: pa.StringArray, log: PhotoLog) -> tuple[Taken, dict[int, Version]]:
    """What the log knows of photos at the versions that they have now, and the versions of others in a store."""
    found, sizes = Taken(np.zeros(len(images), "S32"), {}), dict[int, Version]()
    on_web = pc.any(pc.starts_with(images, "http", ignore_case=True)).as_py()
    files = len(images) and not on_web and catalogue.photo_is_local(images[0].as_py())
    places, addresses, tokens = [], [], []
    step = _ASKED if files else max(1, len(images))  # a store lists a folder once for all
    for at in range(0, len(images), step):
        block = images[at : at + step].to_pylist()
        versions = catalogue.versions(block, log.addresses_of(block) if on_web else ())
        here = [(place, versions[image]) for place, image in enumerate(block, at) if image in versions]
        places.append(np.array([place for place, _ in here], np.int64))
        addresses.append(pa.array([version.address for _, version in here], pa.string()))
        tokens.append(pa.array([version.token for _, version in here], pa.string()))
        if not files:
            sizes = dict(here)
    known = log.look_up(pa.chunked_array(addresses, pa.string()), pa.chunked_array(tokens, pa.string()))
    asked = np.concatenate([np.zeros(0, np.int64), *places])
    ids = known["photo_id"]
    found.ids[asked] = pc.fill_null(ids, "").to_numpy().astype("S32")
    bad = pc.and_(pc.is_null(ids), pc.is_valid(known["reason"]))
    told = known.select(["reason", "detail"]).filter(bad)
    for place, row in zip(asked[bad.to_numpy()].tolist(), told.to_pylist(), strict=True):
        found.refused[place] = Refusal(row["reason"], row["detail"])
    return found, sizes


class _Lot:
    """What was read since the last pack was stored."""

    def __init__(self, store: ObjectStore, log: PhotoLog, folder: Path) -> None:
        self._store, self._log, self._folder = store, log, folder
        self._pack: PackWriter | None = None
        self._photos: list[dict[str, Any]] = []
        self._seen: list[dict[str, Any]] = []
        self.stored = False
        """Whether anything was."""

    @property
    def size(self) -> int:
        """Bytes of the pack so far."""
        return self._pack.size if self._pack else 0

    @property
    def rows(self) -> int:
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
            pack = self._pack.store(self._store)
            place = {"pack": pack.key, "pack_sha256": pack.sha256, "pack_size": pack.size}
            self._photos = [row if "reason" in row else row | place for row in self._photos]
        self.stored = self.stored or bool(self._seen)
        self._log.add(self._photos, self._seen)
        self._pack, self._photos, self._seen = None, [], []

    def discard(self) -> None:
        if self._pack is not None:
            self._pack.discard()


def merge_packs(
    log: PhotoLog, store: ObjectStore, photo_ids: pa.StringArray, config: CurationConfig, folder: Path
) -> None:
    """Put photos of many small packs into few large ones; snapshots from now on refer to these.

    The small ones stay, for snapshots that refer to them; retention removes them with the last of these.
    """
    rows = log.photos.filter(pc.is_in(log.photos["photo_id"], photo_ids))
    small = [pack.key for pack in packs_of(rows) if pack.size < config.shard_bytes / SMALL_PART]
    if len(small) <= MOST_SMALL:
        return
    moved = rows.filter(pc.is_in(rows["pack"], pa.array(small, pa.string()))).sort_by("photo_id")
    lot = _Lot(store, log, folder)

    def read(row: Mapping[str, Any]) -> bytes:
        return store.get(row["pack"], start=row["offset"], length=row["length"])

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


def _read(
    catalogue: Catalogue,
    image: str,
    now: Version | None,
    config: CurationConfig,
    in_log: _Known,
    budget: Budget,
) -> _Read | Refusal | tuple[Refusal, Version]:
    max_bytes = config.limits.max_bytes
    try:
        data, version = catalogue.read_version(image, max_bytes=max_bytes, size=now and now.size)
    except PhotoOutside as error:
        return Refusal("outside the catalogue", str(error))
    except ObjectNotFound:
        return Refusal("missing", f"there is no photo {image}")
    except AccessDenied as error:
        return Refusal(_DENIED, f"{image} cannot be read, or does not exist: {error}")
    except StoreUnavailable as error:
        if not catalogue.photo_is_local(image):
            raise  # the service is down; every other photo would fail as well
        return Refusal("unreadable", f"{image} cannot be read: {error}")
    except StorageError as error:
        return Refusal("unreadable", f"{image} cannot be read: {error}")
    if len(data) > max_bytes:
        return Refusal("too large", f"{image} has more than the {max_bytes:,} bytes allowed"), version
    photo_id = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if photo_id in in_log:
        return _Read(photo_id, version, None)
    shrunk, limits = config.shrunk_side, config.limits
    try:
        with budget.taken(len(data) + foresee_preparing(data, shrunk_side=shrunk, limits=limits)):
            prepared = prepare(data, keep_side=config.keep_side, shrunk_side=shrunk, limits=limits)
    except PhotoError as error:
        return _Read(photo_id, version, Refusal(_REASONS[error.rule], str(error)))
    return _Read(photo_id, version, prepared)


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


def _threads(catalogue: Catalogue, images: Sequence[str]) -> int:
    """One per core for photos on this machine; more where reading them is mostly waiting."""
    local = all(catalogue.photo_is_local(image) for image in images[:1])
    return available_cores() if local else max(16, available_cores())
