"""How aspect models are fitted: the numbers that a recipe sets, and `training` fits by.

No XGBoost here: so recipes can be listed and named by processes that do not carry it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AspectTraining:
    """How aspect models are fitted."""

    rounds: int = 40
    """Boosting rounds; a tree per value in each."""
    learning_rate: float = 0.2
    """Share of each tree's correction that is taken; with fewer rounds it must be larger."""
    depth: int = 4
    """Levels of a tree; deeper ones learn the products by heart."""
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
    folds: int = 0
    """Into so many parts all labelled rows are cut, each judged by models of the others, and the models that are kept
    learn from all of them. For features that learned from none of them (`frozen`). 0: judged by held-out rows alone."""
