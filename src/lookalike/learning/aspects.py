"""Aspect models in use: what values a photo's aspects have, on pooled features and the leaf category.

Enters: a model per aspect (``<name>.ubj``, a boosted forest that XGBoost trained), and for each photo `features` (the
trunk's pooled output) and category probabilities. Leaves: the aspect's values with probabilities. An aspect whose
listings name at most one value each is one softmax; one with several values per listing (``cotton|wool``) is one
yes/no per value. Method: Yang et al. 2017, https://arxiv.org/abs/1706.03154. No torch and no XGBoost here: search
processes load this module; `aspect_training` makes the models.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np

from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError
from lookalike.learning.forest import Forest, Trees

Predictions = dict[str, list[tuple[str, float]]]
"""Aspect name -> its likely values with their probability, likeliest first."""

_SHOWN_AT_LEAST = 0.05  # less likely values are not worth a place in a reply
_SHOWN_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class AspectModel:
    """One aspect: the values it tells apart, and the trees that do it."""

    name: str
    values: tuple[str, ...]
    forest: Forest = field(repr=False)
    """An output per value; a multi-valued aspect's are not exclusive."""
    ubj: bytes = field(repr=False)
    """The forest as it is stored."""

    @classmethod
    def parse(cls, name: str, ubj: bytes) -> Self:
        """The model stored as `ubj`. Raises `ValueError` where it is none."""
        forest = Forest.parse(ubj)
        values = json.loads(forest.attributes.get("values", "[]"))
        if not isinstance(values, list) or len(values) != forest.groups:
            raise ValueError(f"{forest.groups} outputs for the values {values}")
        return cls(name, tuple(values), forest, ubj)

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """f32[n, values] for f32[n, features + categories]; rows sum to 1 unless multi-valued."""
        return self.forest.probabilities(inputs)


@dataclass(frozen=True)
class AspectModels:
    """All aspect models of one release. `metrics` has an entry per aspect, and says why one was left out."""

    models: tuple[AspectModel, ...]
    categories: int
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """Aspect name -> the values that its model can predict."""
        return {model.name: model.values for model in self.models}

    def save(self, directory: Path) -> list[Path]:
        """Write one file per aspect, named by `file_name`, and return their paths."""
        directory.mkdir(parents=True, exist_ok=True)
        paths = []
        for model in self.models:
            path = directory / file_name(model.name)
            path.write_bytes(model.ubj)
            paths.append(path)
        return paths

    def predict(self, features: np.ndarray, probabilities: np.ndarray) -> list[Predictions]:
        """The likely values of every aspect, for each photo.

        `features` f32[n, d] and the category `probabilities` f32[n, C] of the same photos; the models are told the
        likeliest category. A value is listed from a probability of 5 %, five at most, the likeliest always.
        """
        inputs = model_inputs(features, probabilities.argmax(axis=1), self.categories)
        replies: list[Predictions] = [{} for _ in range(len(inputs))]
        if not self.models:
            return replies
        margins = self._trees.margins(inputs)
        first = 0
        for model in self.models:
            last = first + len(model.values)
            scores = model.forest.of_margins(margins[:, first:last]).tolist()
            for reply, row in zip(replies, scores, strict=True):
                reply[model.name] = _likely(model.values, row)
            first = last
        return replies

    @cached_property
    def _trees(self) -> Trees:
        """All models' trees, walked together."""
        return Trees.join([model.forest.trees for model in self.models])

    @classmethod
    def none(cls, categories: int) -> Self:
        """For a catalogue without aspects."""
        return cls((), categories)


def _likely(values: Sequence[str], chances: list[float]) -> list[tuple[str, float]]:
    best = sorted(range(len(chances)), key=chances.__getitem__, reverse=True)[:_SHOWN_AT_MOST]
    shown = [i for rank, i in enumerate(best) if rank == 0 or chances[i] >= _SHOWN_AT_LEAST]
    return [(values[i], round(chances[i], 4)) for i in shown]


def file_name(aspect: str) -> str:
    """The file of an aspect's model: its name with everything unusual percent-encoded, and ``.ubj``."""
    return quote(aspect, safe=" -_").replace(".", "%2E") + ".ubj"


def load_aspects(paths: Mapping[str, Path], card: ModelCard) -> AspectModels:
    """The models of a release: `paths` maps each aspect of the card to its file. Raises `ReleaseError`."""
    models = []
    for name in card.aspects:
        try:
            model = AspectModel.parse(name, paths[name].read_bytes())
        except (KeyError, OSError, ValueError) as error:
            raise ReleaseError(
                f"aspect model {name} cannot be read from {paths.get(name)}: {error}"
            ) from error
        inputs = card.features + len(card.categories)
        if model.forest.inputs != inputs or model.values != tuple(card.aspects[name]):
            raise ReleaseError(f"aspect model {name} in {paths[name]} was not made for this model card")
        models.append(model)
    return AspectModels(tuple(models), len(card.categories), dict(card.metrics.get("aspects", {})))


def model_inputs(features: np.ndarray, category_indices: np.ndarray, categories: int) -> np.ndarray:
    """f32[n, d + C]: pooled features beside the one-hot leaf category."""
    one_hot = np.zeros((len(features), categories), np.float32)
    one_hot[np.arange(len(features)), category_indices] = 1
    return np.concatenate([np.asarray(features, np.float32), one_hot], axis=1)
