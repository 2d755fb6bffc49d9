"""Ways from a trunk's features to codes, each fitted to the features of a catalogue's training photos.

Unsupervised, by FAISS: LSH (random rotations, cut at 0 or at the median of each), signs of principal components, ITQ
(Gong and Lazebnik, CVPR 2011), signs of the features themselves. Of d features there are d components, so beyond d bits
only LSH is defined. Supervised: the hash layers of `lookalike.learning`, trained on the same features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import faiss
import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lookalike.coding.codes import pack
from lookalike.learning.hash_heads import HashHead, SplitHashHead
from lookalike.learning.hashing import HASHINGS, hash_objective
from lookalike.learning.recipes import Stage
from lookalike.learning.schedule import Schedule

Codes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Coder = Callable[[Floats], Codes]
"""float32[n, d] -> uint8[n, bits / 8]"""


@dataclass(frozen=True)
class Sample:
    """What codes are fitted to: features float32[n, d], labels int64[n], and the trained category head."""

    features: Floats
    labels: npt.NDArray[np.int64]
    category_head: nn.Linear


UNSUPERVISED = ("LSH", "LSH, medians", "PCA", "ITQ", "signs", "signs, medians")
NARROW = ("PCA", "ITQ", "signs", "signs, medians")
"""Defined up to as many bits as there are features, so tried below that too."""
UNDRAWN = ("PCA", "signs", "signs, medians")
"""Without anything random."""
RATES = {"sigmoid": 0.1, "paper": 0.1, "regularised": 0.1, "greedy": 0.01, "orthogonal": 10.0}
"""Tried on validation photos of clothing: 0.1 and 1 for sigmoid; 0.1, 1, 10 for orthogonal; one for the others."""
SPLIT = {"split": 4, "split in half": 2}
"""One bit in so many is about the category."""
SUPERVISED = (*HASHINGS, *SPLIT)


def defined(name: str, bits: int, features: int) -> bool:
    """Whether the method can make so many bits of so many features."""
    if name.startswith("signs"):
        return bits == features
    return bits <= features if name in ("PCA", "ITQ") else True


def fit(name: str, sample: Sample, bits: int, seed: int, epochs: int = 30) -> Coder:
    """The method `name`, fitted; `epochs` is for those that are trained."""
    if name in UNSUPERVISED:
        return _unsupervised(name, sample.features, bits, seed)
    features = torch.from_numpy(sample.features)
    categories = sample.category_head.out_features
    torch.manual_seed(seed)
    if name in SPLIT:
        split = SplitHashHead(features.shape[1], bits, categories, bits // SPLIT[name])
        split.fit(features, sample.category_head)
        return _of_layer(split)
    layer = HashHead(features.shape[1], bits)
    layer.centre(features)
    _train(name, layer, features, torch.from_numpy(sample.labels), categories, epochs)
    return _of_layer(layer)


def _unsupervised(name: str, features: Floats, bits: int, seed: int) -> Coder:
    count = features.shape[1]
    method, _, cut = name.partition(", ")
    rotation: faiss.VectorTransform | None = None
    if method == "LSH":
        rotation = faiss.RandomRotationMatrix(count, bits)
        rotation.init(seed)
    elif method == "PCA":
        rotation = faiss.PCAMatrix(count, bits)
    elif method == "ITQ":
        rotation = faiss.ITQTransform(count, bits, bits < count)
        rotation.itq.seed = seed
    if rotation is not None and not rotation.is_trained:
        rotation.train(features)
    rotated = features if rotation is None else rotation.apply(features)
    at = np.median(rotated, axis=0) if cut else np.float32(0)

    def codes(some: Floats) -> Codes:
        return np.packbits((some if rotation is None else rotation.apply(some)) > at, axis=1)

    return codes


def _of_layer(layer: nn.Module) -> Coder:
    def codes(some: Floats) -> Codes:
        with torch.inference_mode():
            return np.concatenate([pack(layer(part).numpy()) for part in torch.from_numpy(some).split(8192)])

    return codes


def _train(
    name: str, layer: HashHead, features: torch.Tensor, labels: torch.Tensor, categories: int, epochs: int
) -> None:
    """The hash stage on plain features: the recipe's schedule, without checkpoints and validation."""
    stage = Stage(epochs=epochs, rate=RATES[name], batch=min(128, len(labels)), weight_decay=0.0)
    objective = hash_objective(name, layer, categories, stage)
    optimizer = torch.optim.SGD(objective.parameters(), stage.rate, momentum=stage.momentum, nesterov=True)
    schedule = Schedule(stage, steps := len(labels) // stage.batch)
    for epoch in range(epochs):
        order = torch.randperm(len(labels))
        for step, rows in enumerate(order[: steps * stage.batch].view(steps, stage.batch)):
            optimizer.param_groups[0]["lr"] = schedule.rate(epoch, step)
            loss = objective(features[rows], labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
