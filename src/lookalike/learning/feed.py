"""What the category stage is fed: this rank's part of each batch, on the device, augmented there.

The order of photos is one permutation of all of them per epoch, cut into batches, each cut into the ranks' parts.
Squares are gathered from the mapped file by a thread, some batches ahead; a GPU gets them as uint8, a quarter of the
bytes of its float32 input, from pinned memory without waiting, and crops, turns and lights them itself.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from typing import TypeVar

from torch import Tensor

from lookalike.errors import TrainingError
from lookalike.learning.dataset import TrainingData, shuffled_batches
from lookalike.learning.distributed import Ranks
from lookalike.learning.recipes import Recipe, Stage
from lookalike.learning.transforms import Part, seeded, training_transform

_AHEAD = 3
"""Batches that wait in memory."""
T = TypeVar("T")


class Feed:
    """Augmented batches of the training photos; `stage` numbers the stage in the seed."""

    def __init__(self, recipe: Recipe, data: TrainingData, ranks: Ranks, *, stage: int) -> None:
        self.recipe, self.data, self.ranks, self.stage = recipe, data, ranks, stage
        self.photos = batch_size(recipe.category_stage, len(data.train), ranks)
        self.steps = len(data.train) // self.photos

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Photos f32 [n, 3, h, w] and labels int64 [n] of the steps of an epoch, from step `first` on."""
        stage, device = self.recipe.category_stage, self.ranks.device
        rows = self.ranks.part(self.photos)
        transform = training_transform(
            self.recipe.preset,
            _size(stage, epoch, self.recipe.preset.crop),
            self.recipe.augmentation,
            Part(rows, self.photos),
        )
        for step, (squares, labels) in enumerate(ahead(self._squares(epoch, first), _AHEAD), start=first):
            photos = squares.to(device, non_blocking=True)
            with seeded(self.recipe.seed, self.stage, epoch, step):
                augmented = transform(photos)
            yield augmented, labels.to(device, non_blocking=True)

    def _squares(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        data, pinned = self.data, self.ranks.device.type == "cuda"
        order = shuffled_batches(
            len(data.train), self.photos, seed=(self.recipe.seed, self.stage, epoch), first=first
        )
        part = self.ranks.part(self.photos)
        return (data.batch(data.train, rows[part], pinned=pinned) for rows in order)


def batch_size(stage: Stage, count: int, ranks: Ranks) -> int:
    """Photos of a step over all ranks: the stage's batch, or all there are. Raises `TrainingError`."""
    size = min(stage.batch, count)
    if size < ranks.world:
        raise TrainingError(f"{ranks.world} ranks cannot share batches of {size} photos; start fewer")
    return size


def ahead(items: Iterator[T], depth: int) -> Generator[T, None, None]:
    """`items`, computed by a thread up to `depth` ahead of who takes them; its exceptions are raised here."""
    waiting: queue.Queue[tuple[T | None, BaseException | None] | None] = queue.Queue(depth)
    closed = threading.Event()

    def offer(entry: tuple[T | None, BaseException | None] | None) -> bool:
        while not closed.is_set():
            try:
                waiting.put(entry, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((item, None)):
                    return
        except BaseException as error:
            offer((None, error))
        offer(None)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (entry := waiting.get()) is not None:
            item, error = entry
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        closed.set()
        thread.join()


def _size(stage: Stage, epoch: int, crop: int) -> int:
    """Pixels of a training photo in this epoch."""
    at = (epoch + 1) / stage.epochs
    return next((size for until, size in stage.sizes if at <= until + 1e-9), crop)
