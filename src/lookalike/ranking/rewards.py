"""Aspect reward points: how well a listing's own aspects fit those expected of the query.

As in the paper, each expected aspect that a listing has earns points (size, brand and price more than others); the
reward is the share of the points that could be earned. Two refinements: an expected value counts with its
probability and with the skill of the model that expects it, so a guess moves a listing less than a certainty; and
price, which no photo shows, takes part where the query is a listing and has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from lookalike.ranking.request import RankingConfig


@dataclass(frozen=True)
class Expectation:
    """What is expected of a good hit: per aspect the probability of each value, and the query listing's price."""

    aspects: Mapping[str, Mapping[str, float]]
    price: float | None = None
    sure_from: Mapping[str, float] = field(default_factory=dict)
    """Aspect -> the probability from which a value is sure enough to be shown as a match; without an entry, all are."""
    skill: Mapping[str, float] = field(default_factory=dict)
    """Aspect -> how much its prediction is worth, 0 to 1; without an entry 1, as what a listing states."""

    @classmethod
    def of_photo(
        cls,
        predicted: Mapping[str, Sequence[tuple[str, float]]],
        sure_from: Mapping[str, float],
        skill: Mapping[str, float],
    ) -> Expectation:
        chances = {aspect: dict(values) for aspect, values in predicted.items()}
        return cls(chances, sure_from=sure_from, skill=skill)

    @classmethod
    def of_listing(cls, stated: Mapping[str, Sequence[str]], price: float | None) -> Expectation:
        return cls({aspect: dict.fromkeys(values, 1.0) for aspect, values in stated.items() if values}, price)

    @cached_property
    def matching(self) -> dict[str, dict[str, float]]:
        """Per aspect the values by which a hit matches: the likeliest, and others of probability 1/2 or more, those
        that are sure enough."""
        found = {}
        for aspect, chances in self.aspects.items():
            likeliest, least = max(chances.values(), default=0.0), self.sure_from.get(aspect, 0.0)
            from_ = max(least, min(likeliest, 0.5))
            sure = {value: p for value, p in chances.items() if p >= from_}
            if sure:
                found[aspect] = sure
        return found

    def __bool__(self) -> bool:
        return bool(self.aspects) or self.price is not None


def rewards(
    expected: Expectation, chances: Mapping[str, np.ndarray], prices: np.ndarray, config: RankingConfig
) -> np.ndarray:
    """Reward f64[n], 0 to 1, of n listings.

    `chances[aspect]` f64[n] is the probability that each listing is as expected (the sum over the values that it
    states; 0 where it states none), `prices` f64[n] what each costs (NaN: unknown).
    """
    earned = np.zeros(len(prices))
    possible = 0.0
    for aspect in expected.aspects:
        points = config.points(aspect)
        possible += points
        earned += points * expected.skill.get(aspect, 1.0) * np.minimum(chances[aspect], 1)
    if expected.price:
        points = config.points("price")
        possible += points
        ratio = np.minimum(prices, expected.price) / np.maximum(np.maximum(prices, expected.price), 1e-9)
        earned += points * np.nan_to_num(ratio)
    return earned / possible if possible else earned


def matched(expected: Expectation, stated: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The aspects in which a listing has a value that is expected surely enough (`Expectation.matching`)."""
    found = {}
    for aspect, chances in expected.matching.items():
        hits = [value for value in stated.get(aspect, ()) if value in chances]
        if hits:
            found[aspect] = max(hits, key=chances.__getitem__)
    return found
