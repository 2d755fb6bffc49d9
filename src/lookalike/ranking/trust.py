"""Which predicted aspects are worth anything, by what the release measured on held-out listings.

Enters: the metrics of a release's aspect models (`aspects.training.fit_aspects`). Leaves: for each aspect that
is predicted better than by always saying the commonest value, the probability from which a prediction may be shown as
a fact. So what a shopper sees ticked is mostly true, and an aspect that photos do not show, as a size or most brands,
neither moves a hit nor is ticked. What is known a little moves hits a little: points follow the *skill*.

Held-out listings are few, so shares count by the lower end of their interval (Wilson 1927, one-sided, 95 %). A release
that measured nothing, because it is older or had no held-out listings, is trusted with nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lookalike.ranking.request import RankingConfig


@dataclass(frozen=True, slots=True)
class Trust:
    """What the predictions of one aspect are worth."""

    sure_from: float
    """The least probability of a predicted value that is shown as a fact; infinite where none is sure enough."""
    skill: float
    """0 to 1: the share of the way from always saying the commonest value to always being right."""


Trusted = Mapping[str, Trust]

_Z = 1.645


def trusted(metrics: Mapping[str, Mapping[str, Any]], config: RankingConfig) -> Trusted:
    """The aspects that earn points, each with its skill and the probability from which a prediction is ticked."""
    return {
        name: Trust(_surely(measured.get("sure", ()), config.tick_share), _skill(measured))
        for name, measured in metrics.items()
        if _beats_guessing(measured, config.aspect_margin)
    }


def _beats_guessing(measured: Mapping[str, Any], margin: float) -> bool:
    held_out, accuracy, majority = (measured.get(name) for name in ("held_out", "accuracy", "majority"))
    if not held_out or accuracy is None or majority is None:
        return False
    surely = at_least(accuracy * held_out, held_out)
    return bool(accuracy >= majority + margin and surely > majority)


def _skill(measured: Mapping[str, Any]) -> float:
    share: float = (measured["accuracy"] - measured["majority"]) / max(1e-9, 1 - measured["majority"])
    return min(1.0, share)


def _surely(sure: Sequence[tuple[float, int, int]], share: float) -> float:
    """The lowest probability such that of the predictions at least as probable that share was right."""
    return min((at for at, n, right in sure if at_least(right, n) >= share), default=math.inf)


def at_least(hits: float, n: int) -> float:
    """The lower end of the interval of a share that was seen as `hits` of `n`."""
    if n == 0:
        return 0.0
    share, z = hits / n, _Z
    middle = share + z * z / (2 * n)
    spread = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, (middle - spread) / (1 + z * z / n))
