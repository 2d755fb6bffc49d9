"""What a stage that trains the trunk is fed: this rank's part of each batch, on the device, augmented there.

The order of photos is one permutation of all of them per epoch, cut into batches, each cut into the ranks' parts. Of
very many photos each rank reads a stretch of its own, so that no machine has to keep all of them at hand.
Squares are gathered by threads, some batches ahead; a GPU gets them as uint8, a quarter of the
bytes of its float32 input, from pinned memory without waiting, and crops, turns and lights them itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lookalike.ahead import ahead
from lookalike.errors import TrainingError
from lookalike.learning.dataset import Examples, TrainingData, sharded_batches, shuffled_batches
from lookalike.learning.distributed import Ranks
from lookalike.learning.recipes import Recipe, Stage
from lookalike.learning.transforms import Part, seeded, training_transform

SHARDED_FROM = 100_000
"""Photos from which on ranks read stretches; below, all fit the page cache."""
_AHEAD = 3
"""Batches that wait in memory."""
_THREADS = 2
"""While one gathers the last photos of its batch, the other has begun the next."""


class Feed:
    """Augmented batches of the training photos for `stage`, which `number` numbers in the seed."""

    def __init__(
        self, recipe: Recipe, stage: Stage, data: TrainingData, ranks: Ranks, *, number: int
    ) -> None:
        self.recipe, self.stage, self.data, self.ranks, self.number = recipe, stage, data, ranks, number
        self.photos = batch_size(stage, len(data.train), ranks)
        self.steps = len(data.train) // self.photos

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Photos f32 [n, 3, h, w] and labels int64 [n] of the steps of an epoch, from step `first` on."""
        recipe, data = self.recipe, self.data
        part = self.ranks.part(self.photos)
        transform = training_transform(
            recipe.preset,
            _size(self.stage, epoch, recipe.preset.crop),
            recipe.augmentation,
            Part(part, self.photos),
            self.ranks.device,
        )
        seed = (recipe.seed, self.number, epoch)
        if len(data.train) >= SHARDED_FROM:
            own = sharded_batches(data.train.photo, self.photos, part, seed=seed, first=first)
        else:
            order = shuffled_batches(len(data.train), self.photos, seed=seed, first=first)
            own = (rows[part] for rows in order)
        batches = gathered(data, data.train, own, self.ranks.device)
        for step, (_, photos, labels) in enumerate(batches, start=first):
            with seeded(recipe.seed, self.number, epoch, step):
                augmented = transform(photos)
            yield augmented, labels


def gathered(
    data: TrainingData, examples: Examples, orders: Iterable[NDArray[np.int64]], device: torch.device
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """For each of `orders`: these rows of `examples`, their photos uint8 [n, 3, side, side], labels, on the device."""

    def work(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor, Tensor]:
        return rows, *data.batch(examples, rows, pinned=device.type == "cuda")

    for rows, photos, labels in ahead(work, orders, threads=_THREADS, depth=_AHEAD, name="feed"):
        yield rows, photos.to(device, non_blocking=True), labels.to(device, non_blocking=True)


def for_ranks(stage: Stage, ranks: Ranks) -> Stage:
    """`stage` as so many ranks train it: where it has a `rank_batch`, batch and rate grow with their number."""
    if not stage.rank_batch:
        return stage
    batch = stage.rank_batch * ranks.world
    return replace(stage, batch=batch, rate=stage.rate * batch / stage.batch)


def batch_size(stage: Stage, count: int, ranks: Ranks) -> int:
    """Photos of a step over all ranks: the stage's batch, or all there are. Raises `TrainingError`."""
    size = min(stage.batch, count)
    if size < ranks.world:
        raise TrainingError(f"{ranks.world} ranks cannot share batches of {size} photos; start fewer")
    return size


def _size(stage: Stage, epoch: int, crop: int) -> int:
    """Pixels of a training photo in this epoch."""
    at = (epoch + 1) / stage.epochs
    return next((size for until, size in stage.sizes if at <= until + 1e-9), crop)
