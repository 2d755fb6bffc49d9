"""Photos as squares, uint8 [side, side, 3], for training: decoded once into a mapped file, or again in every epoch.

`MappedSquares` is the fast way: a photo costs a copy. Its file takes side x side x 3 bytes a photo, 0.2 MB at 256
pixels, so ten million photos are 2 TB. Where that does not fit, `DecodedSquares` decodes from the photo shards whenever
a batch is asked for, by worker processes into memory that they share with this one, in /dev/shm. Both give the same
bytes.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.photo_store import PhotoPlace
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import CorruptObject, PhotoError, TrainingError
from lookalike.imaging.photos import load_square

_AT_ONCE = 16
"""Photos that a worker decodes per task."""


class Squares(Protocol):
    """Photos by position. Safe to read from several threads."""

    @property
    def side(self) -> int:
        """Pixels of a side."""

    def __len__(self) -> int: ...

    def take(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Write the photos at `positions` to `out`, uint8 [n, side, side, 3]."""


@dataclass(frozen=True, slots=True)
class MappedSquares:
    """Squares in one array, which may be a mapped file."""

    array: NDArray[np.uint8]
    """uint8 [photos, side, side, 3]."""

    @property
    def side(self) -> int:
        return int(self.array.shape[1])

    def __len__(self) -> int:
        return len(self.array)

    def take(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        np.take(self.array, positions, axis=0, out=out, mode="clip")  # the mode `raise` would copy twice


class DecodedSquares:
    """Squares decoded from a snapshot's photo shards by `workers` processes, which end with this one."""

    def __init__(
        self, snapshot: CuratedSnapshot, photo_ids: Sequence[str], side: int, *, workers: int
    ) -> None:
        self._places = [snapshot.photo_store.place(photo_id) for photo_id in photo_ids]
        self._ids, self._side = list(photo_ids), side
        # Not forked: this process has threads, and perhaps a GPU.
        self._pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _end_with_parent)
        self._own = threading.local()

    @property
    def side(self) -> int:
        return self._side

    def __len__(self) -> int:
        return len(self._places)

    def take(self, positions: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Raises `CorruptObject` naming the photo that cannot be decoded, and `TrainingError` where a worker died."""
        shared, starts = self._shared(out.nbytes), range(0, len(positions), _AT_ONCE)
        tasks = []
        try:
            for start in starts:
                places = [self._places[at] for at in positions[start : start + _AT_ONCE].tolist()]
                tasks.append(self._pool.submit(_decode, places, self._side, shared.name, start))
            wait(tasks)  # all: one that is late would write to memory that is given back
            found = [task.result() for task in tasks]
        except BrokenProcessPool as error:
            raise TrainingError(
                "a process that decodes photos died, most likely because /dev/shm is full: give it a few times the "
                f"{out.nbytes / 1e6:.0f} MB of a batch, or decode photos once (--decode once)"
            ) from error
        for start, wrong in zip(starts, found, strict=True):
            if wrong is not None:
                photo_id = self._ids[positions[start + wrong[0]]]
                shard = self._places[positions[start + wrong[0]]].path
                raise CorruptObject(str(shard), f"{shard}: photo {photo_id} cannot be decoded: {wrong[1]}")
        out[...] = np.ndarray(out.shape, np.uint8, shared.buf)

    def _shared(self, size: int) -> SharedMemory:
        """Memory of this thread that the workers can write to."""
        shared: _Shared | None = getattr(self._own, "shared", None)
        if shared is None or shared.memory.size < size:
            shared = self._own.shared = _Shared(SharedMemory(create=True, size=size))
        return shared.memory


class _Shared:
    """Shared memory that is given back with its thread."""

    def __init__(self, memory: SharedMemory) -> None:
        self.memory = memory

    def __del__(self) -> None:
        self.memory.close()
        self.memory.unlink()


def _end_with_parent() -> None:
    """In a worker: watch for the end of the process that started it, which may be killed.

    PR_SET_PDEATHSIG would tell of the end of the *thread* that started it.
    """

    def watch() -> None:
        parent = multiprocessing.parent_process()
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _decode(places: Sequence[PhotoPlace], side: int, name: str, start: int) -> tuple[int, str] | None:
    """In a worker: photos into the shared memory from position `start` on; which one could not be decoded, and why."""
    memory = SharedMemory(name)
    squares = np.ndarray((len(places), side, side, 3), np.uint8, memory.buf, start * side * side * 3)
    try:
        for i, place in enumerate(places):
            try:
                with place.path.open("rb") as file:
                    file.seek(place.offset)
                    squares[i] = load_square(file.read(place.length), side)
            except PhotoError as error:
                return i, str(error)
        return None
    finally:
        del squares  # memory that an array shows cannot be closed
        memory.close()  # what stays attached is never given back
