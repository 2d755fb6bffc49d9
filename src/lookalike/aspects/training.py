"""Fitting the aspect models: one boosted forest per aspect, by XGBoost.

Enters: `features` (the trunk's pooled output), the leaf category, and what each listing says of its aspects. Leaves:
`AspectModels`, as search processes load them, with their accuracy on held-out listings. Each aspect trains on one
thread and the aspects side by side, so the result does not depend on the number of threads. Method: Yang et al. 2017,
https://arxiv.org/abs/1706.03154.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import xgboost

from lookalike.aspects.boosting import AspectTraining
from lookalike.aspects.models import AspectModel, AspectModels, model_inputs
from lookalike.aspects.xgboost_model import forest_of
from lookalike.errors import TrainingError
from lookalike.settings import available_cores

_SURE = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)


def fit_aspects(
    features: np.ndarray,
    category_indices: np.ndarray,
    categories: Sequence[str],
    values: Mapping[str, Sequence[tuple[str, ...]]],
    is_validation: np.ndarray,
    *,
    seed: int = 0,
    threads: int = 0,
    training: AspectTraining | None = None,
    groups: Sequence[str] | None = None,
) -> AspectModels:
    """Fit one model per aspect and score each on listings that it did not learn from.

    `features` f32[n, d]; `category_indices` i64[n] into `categories`; `values` maps an aspect to what each of the
    n listings says of it (an empty tuple: nothing, the row is not used for that aspect); `is_validation` bool[n].
    Those are held out, or, with `training.folds`, every row once: rows of one of `groups`, n of them, together.
    An aspect with too few rows or values gets no model, and `metrics[name]["left_out"]` says why. `accuracy` is
    the share of held-out listings whose likeliest predicted value is one of theirs, `majority` the same for always
    answering the most frequent value; values that no model knows count as wrong in both. `sure` has a row for each of
    some probabilities: it, how many held-out predictions are at least as probable, and how many of those are right.
    """
    inputs = model_inputs(features, category_indices, len(categories))
    how = training or AspectTraining()
    parts = (
        _dealt(groups or range(len(inputs)), how.folds, seed) if how.folds else np.asarray(is_validation, int)
    )

    def fit(name: str) -> tuple[AspectModel | None, dict[str, Any]]:
        return _fit_one(name, inputs, values[name], parts, seed, how)

    names = sorted(values)
    longest_first = sorted(names, key=lambda name: -len(set(chain.from_iterable(values[name]))))
    workers = min(threads or available_cores(), len(names)) or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="aspect") as pool:
        fitting = {name: pool.submit(fit, name) for name in longest_first}
        fitted = {name: fitting[name].result() for name in names}
    models = tuple(model for model, _ in fitted.values() if model is not None)
    return AspectModels(models, len(categories), {name: metrics for name, (_, metrics) in fitted.items()})


def _fit_one(
    name: str,
    inputs: np.ndarray,
    stated: Sequence[tuple[str, ...]],
    parts: np.ndarray,
    seed: int,
    training: AspectTraining,
) -> tuple[AspectModel | None, dict[str, Any]]:
    """`parts` i64[n]: rows of part 0 are learned from alone; those of each other are judged by a model of the rest.

    Of one such part that model is the one that is kept; of several, one that has learned from all rows.
    """
    several = parts.max(initial=0) > 1
    rows = np.array([row for row, values in enumerate(stated) if values], int)
    held_out = rows[parts[rows] > 0]
    learned = rows if several else rows[parts[rows] == 0]
    counts = Counter(value for row in learned for value in set(stated[row]))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    frequent = [value for value, n in ranked if n >= training.minimum_per_value]
    known = tuple(sorted(frequent[: training.maximum_values]))
    fit_rows = np.array([row for row in learned if not set(known).isdisjoint(stated[row])], int)
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

    targets = np.array([[value in stated[row] for value in known] for row in fit_rows], np.float32)
    multi_valued = any(len(set(stated[row])) > 1 for row in fit_rows)
    fit = partial(_fit, name, known, multi_valued=multi_valued, seed=seed, training=training)
    model = fit(inputs[fit_rows], targets)
    metrics["multi_valued"] = multi_valued
    if not len(held_out):
        return model, metrics
    chances = np.zeros((len(held_out), len(known)), np.float32)
    for part in range(1, parts.max() + 1):
        rest, own = parts[fit_rows] != part, parts[held_out] == part
        judge = fit(inputs[fit_rows[rest]], targets[rest]) if several else model
        chances[own] = judge.probabilities(inputs[held_out[own]])
    right = np.array([known[p] in stated[r] for p, r in zip(chances.argmax(axis=1), held_out, strict=True)])
    metrics["accuracy"] = _share(right.tolist())
    metrics["sure"] = _sure(chances.max(axis=1), right)
    metrics["majority"] = _share([frequent[0] in stated[row] for row in held_out])
    return model, metrics


def _fit(
    name: str,
    known: tuple[str, ...],
    inputs: np.ndarray,
    targets: np.ndarray,
    *,
    multi_valued: bool,
    seed: int,
    training: AspectTraining,
) -> AspectModel:
    """A model of `known` values by `inputs` f32[n, d + C] and what each row states, `targets` f32[n, values]."""
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
        xgboost.DMatrix(inputs, targets if multi_valued else targets.argmax(axis=1), nthread=1),
        num_boost_round=training.rounds,
    )
    try:
        forest, _ = forest_of(json.loads(booster.save_raw("json")))
    except ValueError as error:
        raise TrainingError(f"the model of aspect {name} cannot be used: {error}") from error
    return AspectModel(name, known, forest)


def _dealt(groups: Sequence[Any], folds: int, seed: int) -> np.ndarray:
    """i64[n]: a part from 1 to `folds` for each row, equal for rows of one group."""
    names, group = np.unique(np.asarray(groups), return_inverse=True)
    dealt = np.random.default_rng(seed).permutation(len(names)) % folds + 1
    parts: np.ndarray = dealt[group]
    return parts


def _sure(probability: np.ndarray, right: np.ndarray) -> list[tuple[float, int, int]]:
    return [(at, int((probability >= at).sum()), int(right[probability >= at].sum())) for at in _SURE]


def _share(outcomes: Sequence[bool]) -> float:
    return round(sum(outcomes) / len(outcomes), 4)
