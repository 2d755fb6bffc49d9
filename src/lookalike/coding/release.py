"""A model release as its readers see it: `model.json`, without torch.

Training writes it, encoders and the index builder read it. A release is one artefact (`Kind.RELEASE`) with
``weights.safetensors``, ``model.onnx``, ``model.json``, ``metrics.jsonl``, ``curves.png`` and, where the
catalogue has aspects, ``aspects/trees.npz`` (of version 0.1: ``aspects/<name>.ubj``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lookalike.errors import ReleaseError
from lookalike.strict_json import plain

MODEL_FORMAT = 2
"""1, of version 0.1, differs in the files beside the card: its forests are ``aspects/<name>.ubj``."""


@dataclass(frozen=True, slots=True)
class TransformPreset:
    """How a photo becomes network input, the same in training, extraction and query.

    The photo is resized to `resize` x `resize` pixels (aspect ratio not kept, as in the paper), of which the network
    sees the central `crop` x `crop`, as RGB scaled to 0..1, minus `mean`, divided by `std`. Crop and scaling are
    part of the exported graph; only the resize is done outside it.
    """

    name: str
    """What people call it."""
    resize: int
    """Side in pixels that a photo is resized to."""
    crop: int
    """Side in pixels of the square that the network sees."""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """Of red, green and blue (0..1); ImageNet's."""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """Standard deviations of red, green and blue; ImageNet's."""


@dataclass(frozen=True)
class ModelCard:
    """The contents of `model.json`.

    `thresholds` has `bits` values: bit i of a code is 1 where activation i (a sigmoid, 0..1) exceeds thresholds[i];
    empty means 0.5 for all. `temperature` divides the category logits before the softmax.
    """

    architecture: str
    recipe: str
    categories: tuple[str, ...]
    preset: TransformPreset
    bits: int
    features: int
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    aspects: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Aspect name -> the values its model can predict."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    data_digest: str = ""
    code_version: str = ""
    hash_head: str = "sigmoid"
    """The kind of hash layer, by its name in the recipe."""
    colours: int = 0
    """How many of the features, the last ones, are the object's colours."""
    start: Mapping[str, str] = field(default_factory=dict)
    """The weights that the training started from: `weights`, their name, `licence` and `source`; empty: none, or the
    release does not say."""
    category_bits: int = 0
    """How many of the bits, the first ones, are about the leaf category; 0 also where the release does not say."""
    colour_bits: int = 0
    """How many of the bits, the last ones, are about those alone."""
    cluttered_below: float = 0.0
    """Mean of the output `regions` below which a photo's frame is cluttered; 0 where the graph has no such output."""

    @cached_property
    def threshold_array(self) -> NDArray[np.float32]:
        """f32[bits]: `thresholds`, ready to compare activations with."""
        return np.array(self.thresholds or (0.5,) * self.bits, np.float32)

    def to_json(self) -> str:
        body = plain({"format": MODEL_FORMAT} | asdict(self))
        return json.dumps(body, indent=1, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises `ReleaseError` naming the file and what is wrong with it."""
        try:
            body = json.loads(path.read_text())
            if not 1 <= body.pop("format") <= MODEL_FORMAT:
                raise ReleaseError(f"{path}: this model format needs a newer version of lookalike")
            preset = body.pop("preset")
            card = cls(
                **body
                | {
                    "categories": tuple(body["categories"]),
                    "thresholds": tuple(body["thresholds"]),
                    "aspects": {name: tuple(values) for name, values in body["aspects"].items()},
                },
                preset=TransformPreset(
                    **preset | {"mean": tuple(preset["mean"]), "std": tuple(preset["std"])}
                ),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ReleaseError(f"{path} is not a model card: {error}") from error
        if (
            not 0 <= card.category_bits <= card.bits - card.colour_bits <= card.bits
            or not 0 <= card.colours <= card.features
        ):
            raise ReleaseError(
                f"{path}: {card.category_bits} bits of the category and {card.colour_bits} of {card.colours} colours "
                f"do not fit into {card.bits}"
            )
        if card.bits % 8 or card.bits <= 0 or len(card.thresholds) not in (0, card.bits):
            raise ReleaseError(f"{path}: {card.bits} bits with {len(card.thresholds)} thresholds do not fit")
        return card
