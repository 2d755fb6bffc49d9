"""A boosted forest as a few arrays, so that predicting needs neither XGBoost nor scipy.

Enters: the nodes of all its trees, from a release (`trees_file`) or from XGBoost (`xgboost_model`). Leaves:
probabilities equal to XGBoost's own, with margins added up in its order. XGBoost and the scipy it requires are 160 MB
to install, and a call for one row spends most of its time around the trees; here all trees of a forest are walked side
by side, a level at a time. Walking checks nothing, so `Trees.checked` has to. Training is XGBoost's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numba import njit

NODE = np.dtype([("feature", "<i4"), ("threshold", "<f4"), ("left", "<i4"), ("right", "<i4")])
"""A node: which input it looks at, and where it sends an input below its threshold and any other. A leaf sends all to
itself, and its threshold is what its tree adds. Together they are a quarter of a cache line."""
_DEEPEST = 64
"""Levels a tree may have: every row takes as many steps as the deepest tree of all."""


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
    def checked(cls, inputs: int, nodes: np.ndarray, roots: np.ndarray, base: np.ndarray) -> Self:
        """Trees that take turns among the outputs, one for each value of `base`; `nodes` and `roots` as above.

        Raises `ValueError` unless every path from a root ends in a leaf of its own tree and looks at inputs there are.
        """
        if not len(roots) or not len(base) or len(roots) % len(base):
            raise ValueError(f"{len(roots)} trees do not take turns among {len(base)} outputs")
        starts = roots.astype(np.int64)
        if starts[0] != 0 or (np.diff(starts) <= 0).any() or starts[-1] >= len(nodes):
            raise ValueError("its trees do not stand one behind the other")
        if not 0 <= nodes["feature"].min() <= nodes["feature"].max() < inputs:
            raise ValueError("a node looks at an input that there is not")
        if not np.isfinite(nodes["threshold"]).all() or np.isnan(base).any():
            raise ValueError("a threshold or a base is not a number")
        outputs = (np.arange(len(roots)) % len(base)).astype(np.int32)
        return cls(inputs, nodes, roots, outputs, base, _depth(nodes, starts))

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


def _depth(nodes: np.ndarray, roots: np.ndarray) -> int:
    """Steps to the deepest leaf. Raises `ValueError` where a path leaves its tree or has no end."""
    own, left, right = np.arange(len(nodes)), nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
    sizes = np.diff(roots, append=len(nodes))
    first = np.repeat(roots, sizes)
    last = first + np.repeat(sizes, sizes)
    if ((left < first) | (left >= last) | (right < first) | (right >= last)).any():
        raise ValueError("a node lies outside of its tree")
    is_inner = (left != own) | (right != own)
    parents = np.bincount(np.concatenate([left[is_inner], right[is_inner]]), minlength=len(nodes))
    if parents[roots].any() or (parents > 1).any():  # else no path from a root can meet itself
        raise ValueError("its nodes go round in a circle, or two lead to the same one")
    depth, level = 0, roots
    while (inner := level[is_inner[level]]).size:
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f"a tree has more than {_DEEPEST} levels")
        level = np.concatenate([left[inner], right[inner]])
    return depth


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """Trees that take turns among its outputs, one per value told apart."""

    exclusive: bool
    """Outputs sum to 1 (softmax); otherwise each is a probability of its own (sigmoid)."""
    trees: Trees

    @property
    def groups(self) -> int:
        """Outputs."""
        return len(self.trees.base)

    @property
    def inputs(self) -> int:
        """Features that a row must have."""
        return self.trees.inputs

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
