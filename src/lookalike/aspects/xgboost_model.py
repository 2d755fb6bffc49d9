"""An XGBoost model, in the form in which it saves itself, as a forest that we walk.

Enters: what XGBoost's JSON holds (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html), parsed.
Leaves: a checked `Forest` with the same margins to the last bit, and the texts that were stored with the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from lookalike.aspects.forest import NODE, Forest, Trees

_OBJECTIVES = ("multi:softprob", "binary:logistic")


def forest_of(saved: Mapping[str, Any]) -> tuple[Forest, Mapping[str, str]]:
    """The forest and the attributes of a saved model. Raises `ValueError` where it is not one that we can walk."""
    try:
        learner = saved["learner"]
        parameters, model = learner["learner_model_param"], learner["gradient_booster"]["model"]
        objective, trees = learner["objective"]["name"], model["trees"]
        if objective not in _OBJECTIVES:
            raise ValueError(f"objective {objective}; {' and '.join(_OBJECTIVES)} are known")
        groups = max(int(parameters["num_class"]), int(parameters["num_target"]))
        order = np.asarray(model["tree_info"])
        if not trees or len(trees) % groups or (order != np.arange(len(trees)) % groups).any():
            raise ValueError("its trees do not take turns among the outputs")
        exclusive = objective == "multi:softprob"
        base = np.array(json.loads(parameters["base_score"]), np.float32)
        base = np.broadcast_to(base if exclusive else _margin(base), groups).astype(np.float32)
        found = Trees.checked(int(parameters["num_feature"]), *_nodes(trees), base)
        return Forest(exclusive, found), learner["attributes"]
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a model of XGBoost: {error!r}") from error


def _nodes(trees: list[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """NODE[n] of the trees one behind the other, and the root of each."""
    sizes = np.array([len(tree["left_children"]) for tree in trees])
    roots = np.cumsum(sizes) - sizes

    def column(name: str, dtype: type) -> np.ndarray:
        found = np.concatenate([np.asarray(tree[name]).astype(dtype, copy=False) for tree in trees])
        if found.shape != (sizes.sum(),):
            raise ValueError(f"{name} does not fit its trees")
        return found

    if column("split_type", np.uint8).any() or any(len(tree["categories"]) for tree in trees):
        raise ValueError("it splits by categories")
    left, right = column("left_children", np.int32), column("right_children", np.int32)
    is_leaf, first = left < 0, np.repeat(roots, sizes)
    nodes = np.empty(len(left), NODE)
    nodes["feature"] = np.where(is_leaf, 0, column("split_indices", np.int32))
    nodes["threshold"] = column("split_conditions", np.float32)
    for side, children in (("left", left), ("right", right)):
        nodes[side] = np.where(is_leaf, np.arange(len(left)), first + children)
    return nodes, roots.astype(np.int32)


def _margin(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # a value that every listing has: 1, and an infinite margin
        return -np.log(1 / probability - 1)
