"""Reward points for aspects that fit."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.ranking.request import RankingConfig
from lookalike.ranking.rewards import Expectation, matched, rewards

CONFIG = RankingConfig(reward_points={"brand": 2, "price": 2})


def reward(expected: Expectation, stated: dict[str, list[str]], price: float = np.nan) -> float:
    chances = {
        aspect: np.array([sum(p for value, p in values.items() if value in stated.get(aspect, []))])
        for aspect, values in expected.aspects.items()
    }
    return float(rewards(expected, chances, np.array([price]), CONFIG)[0])


def test_the_reward_is_the_share_of_the_points_that_could_be_earned() -> None:
    expected = Expectation.of_listing({"Brand": ["Acme"], "colour": ["red"]}, None)
    assert reward(expected, {"Brand": ["Acme"], "colour": ["red"]}) == 1
    assert reward(expected, {"Brand": ["Acme"], "colour": ["blue"]}) == pytest.approx(2 / 3)
    assert reward(expected, {"colour": ["red"]}) == pytest.approx(1 / 3)
    assert reward(expected, {}) == 0


def test_a_guess_earns_less_than_a_certainty() -> None:
    unsure = Expectation.of_photo({"colour": [("red", 0.6), ("pink", 0.3)]}, {}, {})
    assert reward(unsure, {"colour": ["red"]}) == pytest.approx(0.6)
    assert reward(unsure, {"colour": ["pink"]}) == pytest.approx(0.3)
    assert reward(unsure, {"colour": ["red", "pink"]}) == pytest.approx(0.9)


def test_points_follow_the_skill_of_the_prediction() -> None:
    predicted = {"colour": [("red", 1.0)], "material": [("wool", 1.0)]}
    expected = Expectation.of_photo(predicted, {}, {"colour": 0.8, "material": 0.1})
    assert reward(expected, {"colour": ["red"]}) == pytest.approx(0.4)
    assert reward(expected, {"material": ["wool"]}) == pytest.approx(0.05)


def test_a_price_earns_by_how_near_it_is() -> None:
    expected = Expectation.of_listing({}, 20.0)
    assert reward(expected, {}, 20.0) == 1
    assert reward(expected, {}, 10.0) == reward(expected, {}, 40.0) == pytest.approx(0.5)
    assert reward(expected, {}) == 0


def test_nothing_expected_rewards_nobody() -> None:
    assert reward(Expectation({}), {"colour": ["red"]}) == 0
    assert not Expectation({})


def test_matched_aspects_are_those_shown_to_the_shopper() -> None:
    expected = Expectation.of_photo(
        {"colour": [("red", 0.6), ("pink", 0.3)], "material": [("wool", 0.9), ("silk", 0.7)], "brand": []},
        {"colour": 0.5, "material": 0.6, "brand": 0.1},
        {},
    )
    assert matched(expected, {"colour": ["pink"], "material": ["silk"]}) == {"material": "silk"}
    assert matched(expected, {"colour": ["red"], "brand": ["Acme"]}) == {"colour": "red"}


def test_a_value_that_is_not_sure_enough_earns_points_and_is_not_shown() -> None:
    predicted = {"colour": [("red", 0.6), ("pink", 0.3)], "material": [("wool", 0.9), ("silk", 0.7)]}
    expected = Expectation.of_photo(predicted, {"colour": 0.7, "material": 0.8}, {})
    assert matched(expected, {"colour": ["red"], "material": ["silk"]}) == {}
    assert matched(expected, {"colour": ["red"], "material": ["silk", "wool"]}) == {"material": "wool"}
    assert reward(expected, {"colour": ["red"]}) > 0
