"""Aspect models: one boosted-tree model per aspect, on pooled features and the leaf category.

Enters: `features` (the trunk's pooled output), the leaf category, and what each listing says of its aspects.
Leaves: an XGBoost model per aspect (``<name>.ubj``) that predicts the aspect's values with probabilities. An
aspect whose listings name at most one value each is one softmax; one with several values per listing
(``cotton|wool``) is one yes/no per value. Each aspect trains on one thread and the aspects side by side, so the
result does not depend on the number of threads. Method: Yang et al. 2017, https://arxiv.org/abs/1706.03154.
No torch here: search processes load this module.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import numpy as np
import xgboost

from lookalike.coding.release import ModelCard
from lookalike.errors import ReleaseError
from lookalike.settings import available_cores

Predictions = dict[str, list[tuple[str, float]]]
"""Aspect name -> its likely values with their probability, likeliest first."""


@dataclass(frozen=True, slots=True)
class AspectTraining:
    """How aspect models are fitted."""

    rounds: int = 40
    """Boosting rounds; a tree per value in each."""
    learning_rate: float = 0.2
    depth: int = 4
    bins: int = 32
    """Histogram bins per feature: pooled features are smooth, and few bins are fast."""
    features_per_tree: float = 0.3
    """Share of the features that each tree may use."""
    minimum_rows: int = 40
    """Training rows that an aspect must have."""
    minimum_per_value: int = 8
    """Training rows that a value must have; rarer values are left out."""
    maximum_values: int = 64
    """The most frequent values are kept: each costs a tree a round."""


_SHOWN_AT_LEAST = 0.05  # less likely values are not worth a place in a reply
_SHOWN_AT_MOST = 5


@dataclass(frozen=True, slots=True)
class AspectModel:
    """One aspect: the values it tells apart, and the trees that do it."""

    name: str
    values: tuple[str, ...]
    multi_valued: bool
    booster: xgboost.Booster = field(repr=False)

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """f32[n, values] for f32[n, features + categories]; rows sum to 1 unless multi-valued."""
        found = np.asarray(self.booster.inplace_predict(inputs), np.float32)
        return found.reshape(len(inputs), len(self.values))


@dataclass(frozen=True, slots=True)
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
            path.write_bytes(bytes(model.booster.save_raw("ubj")))
            paths.append(path)
        return paths

    def predict(self, features: np.ndarray, probabilities: np.ndarray) -> list[Predictions]:
        """The likely values of every aspect, for each photo.

        `features` f32[n, d] and the category `probabilities` f32[n, C] of the same photos; the models are told the
        likeliest category. A value is listed from a probability of 5 %, five at most, the likeliest always.
        """
        inputs = _inputs(features, probabilities.argmax(axis=1), self.categories)
        replies: list[Predictions] = [{} for _ in range(len(inputs))]
        for model in self.models:
            scores = model.probabilities(inputs)
            order = np.argsort(-scores, axis=1, kind="stable")[:, :_SHOWN_AT_MOST]
            for reply, row, best in zip(replies, scores, order, strict=True):
                shown = [i for rank, i in enumerate(best) if rank == 0 or row[i] >= _SHOWN_AT_LEAST]
                reply[model.name] = [(model.values[i], round(float(row[i]), 4)) for i in shown]
        return replies

    @classmethod
    def none(cls, categories: int) -> Self:
        """For a catalogue without aspects."""
        return cls((), categories)


def file_name(aspect: str) -> str:
    """The file of an aspect's model: its name with everything unusual percent-encoded, and ``.ubj``."""
    return quote(aspect, safe=" -_").replace(".", "%2E") + ".ubj"


def fit_aspects(
    features: np.ndarray,
    category_indices: np.ndarray,
    categories: Sequence[str],
    values: Mapping[str, Sequence[tuple[str, ...]]],
    is_validation: np.ndarray,
    *,
    seed: int = 0,
    threads: int = 0,
    training: AspectTraining = AspectTraining(),
) -> AspectModels:
    """Fit one model per aspect and score each on the held-out listings.

    `features` f32[n, d]; `category_indices` i64[n] into `categories`; `values` maps an aspect to what each of the
    n listings says of it (an empty tuple: nothing, the row is not used for that aspect); `is_validation` bool[n].
    An aspect with too few rows or values gets no model, and `metrics[name]["left_out"]` says why. `accuracy` is
    the share of held-out listings whose likeliest predicted value is one of theirs, `majority` the same for always
    answering the most frequent value; values that no model knows count as wrong in both.
    """
    inputs = _inputs(features, category_indices, len(categories))
    held_out = np.asarray(is_validation, bool)

    def fit(name: str) -> tuple[AspectModel | None, dict[str, Any]]:
        return _fit_one(name, inputs, values[name], held_out, seed, training)

    names = sorted(values)
    workers = min(threads or available_cores(), len(names)) or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="aspect") as pool:
        fitted = dict(zip(names, pool.map(fit, names), strict=True))
    models = tuple(model for model, _ in fitted.values() if model is not None)
    return AspectModels(models, len(categories), {name: metrics for name, (_, metrics) in fitted.items()})


def load_aspects(paths: Mapping[str, Path], card: ModelCard) -> AspectModels:
    """The models of a release: `paths` maps each aspect of the card to its file. Raises `ReleaseError`."""
    models = []
    for name in card.aspects:
        booster = xgboost.Booster()
        try:
            path = paths[name]
            booster.load_model(path)  # by path: an empty buffer aborts the process (xgboost 3.2)
            values = json.loads(booster.attr("values") or "null")
        except (KeyError, ValueError, xgboost.core.XGBoostError) as error:
            raise ReleaseError(f"aspect model {name} cannot be read from {paths.get(name)}") from error
        inputs = card.features + len(card.categories)
        if booster.num_features() != inputs or values != list(card.aspects[name]):
            raise ReleaseError(f"aspect model {name} in {path} was not made for this model card")
        booster.set_param({"nthread": 1, "device": "cpu"})
        models.append(AspectModel(name, tuple(values), booster.attr("multi_valued") == "1", booster))
    return AspectModels(tuple(models), len(card.categories), dict(card.metrics.get("aspects", {})))


def _fit_one(
    name: str,
    inputs: np.ndarray,
    stated: Sequence[tuple[str, ...]],
    is_validation: np.ndarray,
    seed: int,
    training: AspectTraining,
) -> tuple[AspectModel | None, dict[str, Any]]:
    rows = [row for row, values in enumerate(stated) if values]
    held_out = [row for row in rows if is_validation[row]]
    counts = Counter(value for row in rows if not is_validation[row] for value in set(stated[row]))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    frequent = [value for value, n in ranked if n >= training.minimum_per_value]
    known = tuple(sorted(frequent[: training.maximum_values]))
    position = {value: i for i, value in enumerate(known)}
    fit_rows = [row for row in rows if not is_validation[row] and not position.keys().isdisjoint(stated[row])]
    metrics: dict[str, Any] = {
        "rows": len(fit_rows),
        "held_out": len(held_out),
        "values": len(known),
        "rare_values": len(counts) - len(known),
    }
    if len(fit_rows) < training.minimum_rows:
        return None, metrics | {"left_out": f"{len(fit_rows)} rows; {training.minimum_rows} are needed"}
    if len(known) < 2:
        return None, metrics | {"left_out": f"only one value has {training.minimum_per_value} rows"}

    multi_valued = any(len(set(stated[row])) > 1 for row in fit_rows)
    targets = np.zeros((len(fit_rows), len(known)), np.float32)
    for i, row in enumerate(fit_rows):
        targets[i, [position[value] for value in stated[row] if value in position]] = 1
    booster = xgboost.train(
        {
            "objective": "binary:logistic" if multi_valued else "multi:softprob",
            **({} if multi_valued else {"num_class": len(known)}),
            "eta": training.learning_rate,
            "max_depth": training.depth,
            "max_bin": training.bins,
            "colsample_bytree": training.features_per_tree,
            "tree_method": "hist",
            "nthread": 1,
            "seed": seed,
            "verbosity": 0,
        },
        xgboost.DMatrix(inputs[fit_rows], targets if multi_valued else targets.argmax(axis=1), nthread=1),
        num_boost_round=training.rounds,
    )
    booster.set_attr(multi_valued=str(int(multi_valued)), values=json.dumps(list(known)))
    model = AspectModel(name, known, multi_valued, booster)
    metrics["multi_valued"] = multi_valued
    if held_out:
        predicted = model.probabilities(inputs[held_out]).argmax(axis=1)
        metrics["accuracy"] = _share(
            [known[p] in stated[r] for p, r in zip(predicted, held_out, strict=True)]
        )
        metrics["majority"] = _share([frequent[0] in stated[row] for row in held_out])
    return model, metrics


def _share(outcomes: Sequence[bool]) -> float:
    return round(sum(outcomes) / len(outcomes), 4)


def _inputs(features: np.ndarray, category_indices: np.ndarray, categories: int) -> np.ndarray:
    """f32[n, d + C]: pooled features beside the one-hot leaf category."""
    one_hot = np.zeros((len(features), categories), np.float32)
    one_hot[np.arange(len(features)), category_indices] = 1
    return np.concatenate([np.asarray(features, np.float32), one_hot], axis=1)
