"""The photos and labels that training sees: squares decoded once, in the order that training asks for.

Decoding costs more than a forward pass of a small network, so every photo of the snapshot that has a label is decoded
once into an array of squares, uint8 [photos, side, side, 3], in a file that is mapped, not read. The file is
named by what is in it and appears whole; a run that is killed while decoding begins again. Where the disk has no room
for it, photos are decoded anew for every batch (`squares`).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import PhotoError, TrainingError
from lookalike.imaging.photos import load_square
from lookalike.learning.squares import DecodedSquares, MappedSquares, Squares
from lookalike.progress import Progress, silent
from lookalike.settings import Settings
from lookalike.storage import leftovers

Decoding = Literal["auto", "once", "always"]
_VALIDATION_PART = 10
"""Where the catalogue holds nothing back for validation, one group in so many is taken from training."""


@dataclass(frozen=True, slots=True)
class Examples:
    """Photos of listings with a label: row i shows square `squares[photo[i]]` and has category `labels[i]`."""

    listing_rows: NDArray[np.int64]
    """Rows of the snapshot's listings table; a listing of several photos has several."""
    photo: NDArray[np.int64]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def some(self, rows: NDArray[np.int64]) -> Examples:
        """Those at `rows`."""
        return Examples(self.listing_rows[rows], self.photo[rows], self.labels[rows])


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that training sees of a snapshot."""

    categories: tuple[str, ...]
    train: Examples
    validation: Examples
    squares: Squares
    note: str
    """Where the validation listings come from."""
    photo_ids: Sequence[str]
    """Of each of the squares; "" of one that could not be decoded."""

    def batch(
        self, examples: Examples, rows: NDArray[np.int64], *, pinned: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Photos uint8 [n, 3, side, side] and labels int64 [n] of some rows of `examples`.

        `pinned` memory is copied to a GPU without the CPU's waiting for it.
        """
        side = self.squares.side
        squares = torch.empty((len(rows), side, side, 3), dtype=torch.uint8, pin_memory=pinned)
        self.squares.take(examples.photo[rows], squares.numpy())
        labels = torch.from_numpy(examples.labels[rows])
        return squares.permute(0, 3, 1, 2), labels.pin_memory() if pinned else labels


def load_training_data(
    snapshot: CuratedSnapshot,
    side: int,
    *,
    cache_dir: Path,
    threads: int,
    decoding: Decoding = "auto",
    progress: Progress = silent,
) -> TrainingData:
    """Labels and squares of a curated snapshot, decoded `once` or `always`; `auto`: once if the disk has room.

    Raises `TrainingError` where there is nothing to learn.
    """
    listings, listing_photos = snapshot.listings, snapshot.listing_photos
    row_of = np.searchsorted(
        np.asarray(listings["listing_id"].to_pylist(), dtype=object),
        np.asarray(listing_photos["listing_id"].to_pylist(), dtype=object),
    )
    split, category, group = (
        np.asarray(listings[name].to_pylist(), dtype=np.str_)[row_of]
        for name in ("split", "category", "group")
    )
    photo_id = np.asarray(listing_photos["photo_id"].to_pylist(), dtype=np.str_)
    shown = ~np.isin(photo_id, snapshot.stock_photos())
    is_train, is_validation = (split == "train") & shown, (split == "val") & shown
    note = "the catalogue's validation split"
    if is_train.any() and not is_validation.any():
        is_validation = is_train & np.array([_held_back(name) for name in group])
        is_train &= ~is_validation
        note = f"one group in {_VALIDATION_PART} of the training split, as the catalogue holds nothing back"
    categories = tuple(sorted({str(name) for name in category[is_train]}))
    if len(categories) < 2:
        found = f"only {categories[0]}" if categories else "no training listings"
        raise TrainingError(
            f"{snapshot.ref}: {found}: there must be at least two leaf categories to tell apart"
        )
    wanted = sorted({str(p) for p in photo_id[is_train | is_validation]})
    path = _squares_file(snapshot, wanted, side, cache_dir)
    if decoding == "once" or (decoding == "auto" and _has_room(path, len(wanted) * side * side * 3)):
        mapped, kept = _mapped(path, snapshot, wanted, side, threads, progress)
        squares: Squares = MappedSquares(mapped)
    else:
        squares, kept = DecodedSquares(snapshot, wanted, side, workers=threads), wanted
    place = {name: i for i, name in enumerate(kept)}
    label = {name: i for i, name in enumerate(categories)}

    def examples(mask: NDArray[np.bool_]) -> Examples:
        seen: set[tuple[str, str]] = set()
        rows = []
        for row in np.flatnonzero(mask):
            pair = (str(photo_id[row]), str(category[row]))
            if pair not in seen and pair[0] in place and pair[1] in label:
                seen.add(pair)  # a photo that listings share counts once
                rows.append(row)
        return Examples(
            row_of[np.array(rows, np.int64)].astype(np.int64),
            np.array([place[str(photo_id[r])] for r in rows], np.int64),
            np.array([label[str(category[r])] for r in rows], np.int64),
        )

    data = TrainingData(categories, examples(is_train), examples(is_validation), squares, note, kept)
    if len(data.validation) == 0:
        raise TrainingError(f"{snapshot.ref}: no validation listing has a category that is trained on")
    return data


def shuffled_batches(
    count: int, batch: int, *, seed: Sequence[int], first: int = 0
) -> Iterator[NDArray[np.int64]]:
    """Rows 0..count in an order that `seed` decides, in batches of one size; a smaller rest is left for another day.

    The first `first` batches are passed over.
    """
    order = np.random.default_rng(list(seed)).permutation(count)
    size = min(batch, count)
    for start in range(first * size, count - size + 1, size):
        yield order[start : start + size]


def sharded_batches(
    places: NDArray[np.int64], batch: int, part: slice, *, seed: Sequence[int], first: int = 0
) -> Iterator[NDArray[np.int64]]:
    """This rank's `part` of each batch: rows i of photos at `places[i]`, whose places lie close together.

    The places are cut into as many ranges as a batch has photos, and each position of a batch is drawn from one range,
    in an order of its own that `seed` decides. So a rank, whose part is some neighbouring positions, reads its own
    stretch of the photos alone. Batches are the same however many ranks share them. The first `first` are passed over.
    """
    count, positions = len(places), range(batch)[part]
    steps, nearby = count // batch, np.argsort(places, kind="stable")
    drawn = np.empty((steps, len(positions)), np.int64)
    for column, position in enumerate(positions):
        low, high = count * position // batch, count * (position + 1) // batch
        order = np.random.default_rng([*seed, position]).permutation(high - low)[:steps]
        drawn[:, column] = nearby[low + order]
    yield from drawn[first:]


def _held_back(group: str) -> bool:
    return hashlib.sha256(group.encode()).digest()[0] % _VALIDATION_PART == 0


def _squares_file(snapshot: CuratedSnapshot, photo_ids: Sequence[str], side: int, cache_dir: Path) -> Path:
    digest = hashlib.sha256("\n".join([str(snapshot.ref), str(side), *photo_ids]).encode()).hexdigest()[:16]
    return cache_dir / "squares" / f"{digest}-{side}.npy"


def _has_room(path: Path, size: int) -> bool:
    """Whether the file is there, or would take at most half of what is free and what the settings allow."""
    if path.exists():
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    return size <= min(shutil.disk_usage(path.parent).free / 2, Settings().squares_gib * 2**30)


def _mapped(
    path: Path,
    snapshot: CuratedSnapshot,
    photo_ids: Sequence[str],
    side: int,
    threads: int,
    progress: Progress,
) -> tuple[NDArray[np.uint8], list[str]]:
    """The squares of the photos that can be decoded, and the id of each; "" where one cannot."""
    names = path.with_suffix(".txt")
    for each in (path, names):
        leftovers.used(each)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial")
        shape = (len(photo_ids), side, side, 3)
        squares = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)

        def decode(at: int) -> bool:
            try:
                squares[at] = load_square(snapshot.photo_bytes(photo_ids[at]), side)
            except PhotoError:
                return False
            return True

        good = np.zeros(len(photo_ids), bool)
        with ThreadPoolExecutor(threads, "decode") as pool:
            for at, read in enumerate(pool.map(decode, range(len(photo_ids)))):
                good[at] = read
                progress("decode photos", at + 1, len(photo_ids))
        squares.flush()
        names.write_text(
            "\n".join(photo_id if ok else "" for photo_id, ok in zip(photo_ids, good, strict=True))
        )
        partial.replace(path)
    return np.load(path, mmap_mode="r"), names.read_text().split("\n")
