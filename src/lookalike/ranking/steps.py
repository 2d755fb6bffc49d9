"""An answer found in steps: first the nearest candidates, then, where they are too few, those beyond them.

Each step is ordered by itself, by the scale of the first, and follows the one before. So the answer is one order of
all listings, of which k and offset cut a piece: a page shows what the page before has not, and ten hits are the first
of two hundred.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np

from lookalike.ranking.rescoring import Scale


@dataclass(slots=True)
class Before:
    """What the steps before this one have found."""

    candidates: int = 0
    """Candidates that were ordered."""
    hits: int = 0
    groups: set[Hashable] = field(default_factory=set)
    """Products, or listings, that have their hit."""
    scale: Scale | None = None
    """Of appearance, by the candidates of the first step."""
    score: float = 1.0
    """Of the last hit: none that follows has a higher one."""

    def passed(self, scores: np.ndarray) -> None:
        """Note the scores f64[n] of the hits of a step, best first."""
        self.hits += len(scores)
        if len(scores):
            self.score = float(scores[-1])
