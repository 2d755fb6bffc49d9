"""A boosted forest as a few arrays, so that predicting needs neither XGBoost nor scipy.

Enters: the bytes of an XGBoost model (UBJSON; https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html).
Leaves: probabilities equal to XGBoost's own, with margins added up in its order. XGBoost and the scipy it requires
are 160 MB to install, and a call for one row spends most of its time around the trees; here all trees of a forest are
walked side by side, a level at a time. Training is XGBoost's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numba import njit

from lookalike.learning import ubjson

_OBJECTIVES = ("multi:softprob", "binary:logistic")
NODE = np.dtype([("feature", np.int32), ("threshold", np.float32), ("left", np.int32), ("right", np.int32)])
"""A node: which input it looks at, and where it sends an input below its threshold and any other. A leaf sends all to
itself, and its threshold is what its tree adds. Together they are a quarter of a cache line."""


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Trees that are walked together: a tree waits for memory at each step, and many wait at the same time."""

    inputs: int
    """Features that a row must have."""
    nodes: np.ndarray
    """NODE[n] of all trees, each one's root first."""
    roots: np.ndarray
    """i32[trees]: the node where each tree begins."""
    outputs: np.ndarray
    """i32[trees]: what each tree adds to."""
    base: np.ndarray
    """f32[outputs]: margins before the first tree."""
    depth: int
    """Steps from a root to the deepest leaf."""

    @classmethod
    def join(cls, parts: Sequence[Trees]) -> Trees:
        """The trees of all `parts`, one after the other."""
        moved: list[Trees] = []
        first_node = first_output = np.int32(0)
        for part in parts:
            nodes = part.nodes.copy()
            nodes["left"] += first_node
            nodes["right"] += first_node
            roots, outputs = part.roots + first_node, part.outputs + first_output
            moved.append(cls(part.inputs, nodes, roots, outputs, part.base, part.depth))
            first_node += np.int32(len(nodes))
            first_output += np.int32(len(part.base))
        return cls(
            inputs=max(part.inputs for part in moved),
            nodes=np.concatenate([part.nodes for part in moved]),
            roots=np.concatenate([part.roots for part in moved]),
            outputs=np.concatenate([part.outputs for part in moved]),
            base=np.concatenate([part.base for part in moved]),
            depth=max(part.depth for part in moved),
        )

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """f32[n, outputs] of `rows` f32[n, inputs]: the base and what each tree adds, in the order of the trees.

        Raises `ValueError` where rows have too few inputs.
        """
        inputs = np.ascontiguousarray(rows, np.float32)
        if inputs.shape[1] < self.inputs:
            raise ValueError(f"rows have {inputs.shape[1]} inputs; {self.inputs} are looked at")
        margins = np.tile(self.base, (len(inputs), 1))
        _walk(self.nodes, self.roots, self.outputs, self.depth, inputs, margins)
        return margins


@njit(nogil=True, cache=True)
def _walk(
    nodes: np.ndarray,
    roots: np.ndarray,
    outputs: np.ndarray,
    depth: int,
    rows: np.ndarray,
    margins: np.ndarray,
) -> None:
    for row in range(len(rows)):
        inputs = rows[row]
        at = roots.copy()
        for _ in range(depth):
            for tree in range(len(at)):
                node = nodes[at[tree]]
                at[tree] = node.right if inputs[node.feature] >= node.threshold else node.left
        for tree in range(len(at)):
            margins[row, outputs[tree]] += nodes[at[tree]].threshold


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees of which every `groups`-th adds to the same output."""

    groups: int
    """Outputs: one per value told apart."""
    attributes: Mapping[str, str]
    """What was stored with the model."""
    exclusive: bool
    """Outputs sum to 1 (softmax); otherwise each is a probability of its own (sigmoid)."""
    trees: Trees

    @property
    def inputs(self) -> int:
        """Features that a row must have."""
        return self.trees.inputs

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """The forest of a model saved by XGBoost. Raises `ValueError` where it is not one that we can walk."""
        try:
            learner = ubjson.parse(data)["learner"]
            parameters, model = learner["learner_model_param"], learner["gradient_booster"]["model"]
            objective, trees = learner["objective"]["name"], model["trees"]
            if objective not in _OBJECTIVES:
                raise ValueError(f"objective {objective}; {' and '.join(_OBJECTIVES)} are known")
            groups = max(int(parameters["num_class"]), int(parameters["num_target"]))
            order = np.asarray(model["tree_info"])
            if not trees or len(trees) % groups or (order != np.arange(len(trees)) % groups).any():
                raise ValueError("its trees do not take turns among the outputs")
            inputs = int(parameters["num_feature"])
            base = np.array(json.loads(parameters["base_score"]), np.float32)
            base = np.broadcast_to(base if objective == "multi:softprob" else _margin(base), groups)
            return cls(
                groups=groups,
                attributes=learner["attributes"],
                exclusive=objective == "multi:softprob",
                trees=_trees(trees, order.astype(np.int32), base.astype(np.float32), inputs),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not a model of XGBoost: {error!r}") from error

    def probabilities(self, rows: np.ndarray) -> np.ndarray:
        """f32[n, groups] of `rows` f32[n, inputs]; each row sums to 1 where the outputs are exclusive."""
        return self.of_margins(self.trees.margins(rows))

    def of_margins(self, margins: np.ndarray) -> np.ndarray:
        """f32[n, groups]: the probabilities that margins f32[n, groups] stand for."""
        found: np.ndarray
        if self.exclusive:
            found = np.exp(margins - margins.max(axis=1, keepdims=True))
            found /= found.sum(axis=1, keepdims=True)
        else:
            found = 1 / (1 + np.exp(-margins))
        return found


def _trees(trees: list[Mapping[str, Any]], outputs: np.ndarray, base: np.ndarray, inputs: int) -> Trees:
    """Their nodes, one tree behind the other, checked: every path ends in a leaf of its own tree."""
    sizes = np.array([len(tree["left_children"]) for tree in trees])
    roots = np.cumsum(sizes) - sizes

    def column(name: str, dtype: type) -> np.ndarray:
        found = np.concatenate([np.asarray(tree[name]).astype(dtype, copy=False) for tree in trees])
        if found.shape != (sizes.sum(),):
            raise ValueError(f"{name} does not fit its trees")
        return found

    if column("split_type", np.uint8).any() or any(len(tree["categories"]) for tree in trees):
        raise ValueError("it splits by categories")
    left, right = column("left_children", np.int64), column("right_children", np.int64)
    is_leaf, own = left < 0, np.arange(len(left))
    first, last = np.repeat(roots, sizes), np.repeat(roots + sizes, sizes)
    children = np.stack([np.where(is_leaf, own, first + side) for side in (left, right)], axis=1)
    feature = np.where(is_leaf, 0, column("split_indices", np.int64))
    if ((children < first[:, None]) | (children >= last[:, None])).any():
        raise ValueError("a node lies outside of its tree")
    if ((feature < 0) | (feature >= inputs)).any():
        raise ValueError("a node looks at an input that there is not")
    nodes = np.empty(len(left), NODE)
    nodes["feature"], nodes["threshold"] = feature, column("split_conditions", np.float32)
    nodes["left"], nodes["right"] = children.T
    return Trees(inputs, nodes, roots.astype(np.int32), outputs, base, _depth(roots, children, is_leaf))


def _depth(roots: np.ndarray, children: np.ndarray, is_leaf: np.ndarray) -> int:
    depth, level = 0, roots
    while (inner := level[~is_leaf[level]]).size:
        depth += 1
        if depth > len(is_leaf):
            raise ValueError("its nodes go round in a circle")
        level = np.unique(children[inner])
    return depth


def _margin(probability: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):  # a value that every listing has: 1, and an infinite margin
        return -np.log(1 / probability - 1)
