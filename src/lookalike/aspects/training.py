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
) -> AspectModels:
    """Fit one model per aspect and score each on the held-out listings.

    `features` f32[n, d]; `category_indices` i64[n] into `categories`; `values` maps an aspect to what each of the
    n listings says of it (an empty tuple: nothing, the row is not used for that aspect); `is_validation` bool[n].
    An aspect with too few rows or values gets no model, and `metrics[name]["left_out"]` says why. `accuracy` is
    the share of held-out listings whose likeliest predicted value is one of theirs, `majority` the same for always
    answering the most frequent value; values that no model knows count as wrong in both. `sure` has a row for each of
    some probabilities: it, how many held-out predictions are at least as probable, and how many of those are right.
    """
    inputs = model_inputs(features, category_indices, len(categories))
    held_out, how = np.asarray(is_validation, bool), training or AspectTraining()

    def fit(name: str) -> tuple[AspectModel | None, dict[str, Any]]:
        return _fit_one(name, inputs, values[name], held_out, seed, how)

    names = sorted(values)
    workers = min(threads or available_cores(), len(names)) or 1
    with ThreadPoolExecutor(workers, thread_name_prefix="aspect") as pool:
        fitted = dict(zip(names, pool.map(fit, names), strict=True))
    models = tuple(model for model, _ in fitted.values() if model is not None)
    return AspectModels(models, len(categories), {name: metrics for name, (_, metrics) in fitted.items()})


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
    try:
        forest, _ = forest_of(json.loads(booster.save_raw("json")))
    except ValueError as error:
        raise TrainingError(f"the model of aspect {name} cannot be used: {error}") from error
    model = AspectModel(name, known, forest)
    metrics["multi_valued"] = multi_valued
    if held_out:
        chances = model.probabilities(inputs[held_out])
        right = np.array(
            [known[p] in stated[r] for p, r in zip(chances.argmax(axis=1), held_out, strict=True)]
        )
        metrics["accuracy"] = _share(right.tolist())
        metrics["sure"] = _sure(chances.max(axis=1), right)
        metrics["majority"] = _share([frequent[0] in stated[row] for row in held_out])
    return model, metrics


def _sure(probability: np.ndarray, right: np.ndarray) -> list[tuple[float, int, int]]:
    return [(at, int((probability >= at).sum()), int(right[probability >= at].sum())) for at in _SURE]


def _share(outcomes: Sequence[bool]) -> float:
    return round(sum(outcomes) / len(outcomes), 4)
