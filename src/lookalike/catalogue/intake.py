"""From references to photos: every photo is read twice, once for its identity and once, if it is new, for its pixels.

The first pass gives each reference its photo id (MD5 of the bytes), so that curation knows before the slow part
whether its work is done, and a photo that stands under several listings is decoded once. The second decodes on a
thread pool, refuses what is no good, and writes the rest to shards in the order of photo ids. A photo that is another
one by then, or gone, is lost to its listing. What stays in memory is about one kilobyte per photo.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from lookalike.catalogue.listings import Catalogue
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.shards import Place, ShardWriter
from lookalike.errors import (
    AccessDenied,
    ObjectNotFound,
    PhotoError,
    PhotoOutside,
    StorageError,
    StoreUnavailable,
)
from lookalike.imaging.limits import PhotoLimits
from lookalike.imaging.photos import PreparedPhoto, prepare, thumbnail
from lookalike.progress import Progress
from lookalike.settings import available_cores

PRINT_SIDE = 16
SAMPLES_PER_REASON = 12
THUMBNAIL_SIDE = 112

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
_MOVED = "changed while it was read"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a photo is not used: a stable word or two, and a sentence."""

    reason: str
    detail: str


@dataclass(slots=True)
class Examined:
    """All good photos, in the order of their ids, and why the others are not."""

    photo_ids: list[str] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    """Width and height of the originals in pixels, upright."""
    phashes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64))
    """uint64[n]."""
    prints: np.ndarray = field(default_factory=lambda: np.zeros((0, PRINT_SIDE, PRINT_SIDE, 3), np.uint8))
    """uint8[n, 16, 16, 3]: the photos at their smallest, to compare them by."""
    refused: dict[str, Refusal] = field(default_factory=dict)
    """Photo id -> why not."""
    moved: dict[str, Refusal] = field(default_factory=dict)
    """Reference -> that its photo is not the one that `identify` saw."""
    samples: dict[str, list[tuple[str, bytes]]] = field(default_factory=dict)
    """Reason -> some photo ids with thumbnails, where there is anything to show."""


def identify(
    catalogue: Catalogue, images: Sequence[str], limits: PhotoLimits, progress: Progress
) -> dict[str, str | Refusal]:
    """Read the photo of every reference once: its id, or why it cannot be used.

    Raises `StoreUnavailable` where photos lie in a store that does not answer, and `AccessDenied` where some are denied
    and none can be read: then it is not the photos.
    """
    found: dict[str, str | Refusal] = {}

    def one(image: str) -> str | Refusal:
        data = _read(catalogue, image, limits.max_bytes)
        return data if isinstance(data, Refusal) else _photo_id(data)

    for done, (image, result) in enumerate(in_order(one, images, _threads(catalogue, images)), 1):
        found[image] = result
        progress("read photos", done, len(images))
    denied = [x.detail for x in found.values() if isinstance(x, Refusal) and x.reason == _DENIED]
    if denied and not any(isinstance(x, str) for x in found.values()):
        message = f"none of {len(images):,} photos can be read, and access to {len(denied):,} is denied"
        raise AccessDenied(catalogue.uri, f"{catalogue.uri}: {message}; the first: {denied[0]}")
    return found


def examine(
    catalogue: Catalogue,
    wanted: Mapping[str, Sequence[str]],
    rules: CurationConfig,
    shards: ShardWriter,
    progress: Progress,
) -> Examined:
    """Decode `wanted` (photo id -> the references that lead to it) and write the good ones to `shards`."""
    found = Examined()
    phashes: list[int] = []
    prints: list[np.ndarray] = []

    def one(photo_id: str) -> PreparedPhoto | tuple[Refusal, bytes] | None:
        for image in wanted[photo_id]:
            data = _read(catalogue, image, rules.limits.max_bytes)
            if not isinstance(data, Refusal) and photo_id == _photo_id(data):
                return judged(data)
            found.moved[image] = Refusal(_MOVED, f"{image} changed or went away meanwhile")
        return None

    def judged(data: bytes) -> PreparedPhoto | tuple[Refusal, bytes]:
        try:
            photo = prepare(
                data, keep_side=rules.keep_side, shrunk_side=rules.shrunk_side, limits=rules.limits
            )
        except PhotoError as error:
            return Refusal(_REASONS[error.rule], str(error)), b""
        refusal = _judge(photo, rules)
        return (refusal, thumbnail(photo.stored, THUMBNAIL_SIDE)) if refusal else photo

    threads = _threads(catalogue, [image for images in wanted.values() for image in images[:1]])
    for done, (photo_id, result) in enumerate(in_order(one, sorted(wanted), threads), 1):
        if isinstance(result, PreparedPhoto):
            found.photo_ids.append(photo_id)
            found.places.append(shards.add(photo_id, result.stored))
            found.sizes.append((result.info.width, result.info.height))
            phashes.append(result.phash)
            prints.append(_halved(result.small))
        elif result is not None:
            refusal, shown = result
            found.refused[photo_id] = refusal
            samples = found.samples.setdefault(refusal.reason, [])
            if shown and len(samples) < SAMPLES_PER_REASON:
                samples.append((photo_id, shown))
        progress("decode photos", done, len(wanted))
    if prints:
        found.phashes, found.prints = np.array(phashes, np.uint64), np.stack(prints)
    return found


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


def _read(catalogue: Catalogue, image: str, max_bytes: int) -> bytes | Refusal:
    try:
        data = catalogue.photo(image, max_bytes=max_bytes)
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
        return Refusal("too large", f"{image} has more than the {max_bytes:,} bytes allowed")
    return data


def _photo_id(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _judge(photo: PreparedPhoto, rules: CurationConfig) -> Refusal | None:
    width, height = photo.info.width, photo.info.height
    if max(width, height) > rules.max_ratio * min(width, height):
        return Refusal("extreme shape", f"{width} x {height} pixels is longer than {rules.max_ratio:g} to 1")
    if min(width, height) < rules.min_side:
        return Refusal("tiny", f"{width} x {height} pixels; the shorter side must have {rules.min_side}")
    deviation = float(photo.small.reshape(-1, 3).std(axis=0).max())
    if deviation < rules.min_deviation:
        return Refusal("blank", f"it is all one colour (deviation {deviation:.1f} grey levels)")
    return None


def _halved(small: np.ndarray) -> np.ndarray:
    side = small.shape[0] // 2
    mean = small.reshape(side, 2, side, 2, 3).mean(axis=(1, 3), dtype=np.float32)
    halved: np.ndarray = (mean + 0.5).astype(np.uint8)
    return halved
