"""Aspect models in use: what values a photo's aspects have, on pooled features and the leaf category.

Enters: a boosted forest per aspect, all in one file (`trees_file`), and for each photo `features` (the trunk's pooled
output) and category probabilities. Leaves: the aspect's values with probabilities. An aspect whose
listings name at most one value each is one softmax; one with several values per listing (``cotton|wool``) is one
yes/no per value. Method: Yang et al. 2017, https://arxiv.org/abs/1706.03154. No torch and no XGBoost here: search
processes load this module; `aspect_training` makes the models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from lookalike.aspects import trees_file
from lookalike.aspects.forest import Forest, Trees
from lookalike.aspects.trees_file import StoredForest
from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError
from lookalike.storage.artefacts import Artefact, Manifest

TREES = "aspects/trees.npz"
"""The file of a release that holds all its forests."""
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

    def save(self, path: Path) -> None:
        """Write all forests to the file at `path`; `read` is the inverse."""
        inputs = max((model.forest.inputs for model in self.models), default=0)
        trees_file.write(path, inputs, [StoredForest(m.name, m.values, m.forest) for m in self.models])

    @classmethod
    def read(cls, path: Path, card: ModelCard) -> Self:
        """The models in the file at `path`, for the release that `card` describes. Raises `ReleaseError`."""
        return cls._of(card, {each.name: each for each in trees_file.read(path)}, str(path))

    @classmethod
    def _of(cls, card: ModelCard, found: Mapping[str, StoredForest], where: str) -> Self:
        inputs = card.features + len(card.categories)
        if {name: each.values for name, each in found.items()} != dict(card.aspects):
            raise ReleaseError(
                f"the aspect models in {where} were not made for this model card: {sorted(found)}"
            )
        for name, each in found.items():
            if each.forest.inputs != inputs:
                raise ReleaseError(
                    f"aspect model {name} in {where} was not made for this model card: it looks at "
                    f"{each.forest.inputs} features and categories, not {inputs}"
                )
        models = tuple(AspectModel(name, found[name].values, found[name].forest) for name in card.aspects)
        return cls(models, len(card.categories), dict(card.metrics.get("aspects", {})))

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


def aspect_files(release: Manifest, card: ModelCard) -> list[str]:
    """The names of a release's files that `load_aspects` reads."""
    if not card.aspects:
        return []
    if _is_of_0_1(release):
        from lookalike.aspects import legacy  # not in the process of a newer release

        return [legacy.file_name(name) for name in card.aspects]
    return [TREES]


def load_aspects(release: Artefact, card: ModelCard) -> AspectModels:
    """The models of a fetched release. Raises `ReleaseError`, or `CorruptObject` where it lists no such file."""
    if not card.aspects:
        return AspectModels.none(len(card.categories))
    if not _is_of_0_1(release.manifest):
        return AspectModels.read(release.path(TREES), card)
    from lookalike.aspects import legacy

    found = {}
    for name in card.aspects:
        path = release.path(legacy.file_name(name))
        try:
            found[name] = StoredForest(name, *legacy.read(path))
        except (OSError, ValueError) as error:
            raise ReleaseError(f"aspect model {name} cannot be read from {path}: {error}") from error
    return AspectModels._of(card, found, f"{release.ref}")


def _is_of_0_1(release: Manifest) -> bool:
    return any(file.name.startswith("aspects/") and file.name.endswith(".ubj") for file in release.files)


def model_inputs(features: np.ndarray, category_indices: np.ndarray, categories: int) -> np.ndarray:
    """f32[n, d + C]: pooled features beside the one-hot leaf category."""
    one_hot = np.zeros((len(features), categories), np.float32)
    one_hot[np.arange(len(features)), category_indices] = 1
    return np.concatenate([np.asarray(features, np.float32), one_hot], axis=1)
