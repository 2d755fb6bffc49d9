"""A forest walked by us answers what XGBoost answers, and one that leads astray is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import xgboost

from lookalike.aspects.forest import NODE, Forest, Trees
from lookalike.aspects.xgboost_model import forest_of

INPUTS = 20


def train(objective: str, *, values: int = 3, rounds: int = 12, depth: int = 4) -> xgboost.Booster:
    rng = np.random.default_rng(values)
    rows = rng.normal(size=(300, INPUTS)).astype(np.float32)
    targets = rows[:, :values] > 0.3
    settings = {"objective": objective, "max_depth": depth, "eta": 0.3, "nthread": 1, "seed": 0}
    if objective == "multi:softprob":
        settings["num_class"] = values
        return xgboost.train(settings, xgboost.DMatrix(rows, targets.argmax(axis=1)), rounds)
    return xgboost.train(settings, xgboost.DMatrix(rows, targets), rounds)


def saved(booster: xgboost.Booster) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(booster.save_raw("json"))
    return found


def forest(booster: xgboost.Booster) -> Forest:
    return forest_of(saved(booster))[0]


@pytest.fixture(scope="module")
def booster() -> xgboost.Booster:
    return train("multi:softprob")


@pytest.mark.parametrize("objective", ["multi:softprob", "binary:logistic"])
@pytest.mark.parametrize("values", [2, 7])
@pytest.mark.parametrize("depth", [1, 6])
def test_it_answers_what_xgboost_answers(objective: str, values: int, depth: int) -> None:
    booster = train(objective, values=values, depth=depth)
    rows = np.random.default_rng(9).normal(size=(700, INPUTS)).astype(np.float32)
    ours = forest(booster)
    margins = booster.inplace_predict(rows, predict_type="margin").reshape(700, values)
    if objective == "multi:softprob":
        np.testing.assert_array_equal(ours.trees.margins(rows), margins)
    else:  # the base margin is a logarithm, which may differ in its last bit
        np.testing.assert_allclose(ours.trees.margins(rows), margins, atol=2e-6)
    expected = booster.inplace_predict(rows).reshape(700, values)
    np.testing.assert_allclose(ours.probabilities(rows), expected, atol=3e-7)


def test_an_input_on_the_threshold_goes_the_way_it_goes_in_xgboost(booster: xgboost.Booster) -> None:
    ours = forest(booster)
    nodes = ours.trees.nodes
    thresholds = nodes["threshold"][nodes["left"] != np.arange(len(nodes))][:200]
    rows = np.repeat(thresholds[:, None], INPUTS, axis=1)
    expected = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_array_equal(ours.trees.margins(rows), expected)


def test_rows_that_are_too_short_are_refused(booster: xgboost.Booster) -> None:
    with pytest.raises(ValueError, match="20 are looked at"):
        forest(booster).probabilities(np.zeros((2, INPUTS - 1), np.float32))


def test_attributes_and_sizes_come_with_it() -> None:
    booster = train("binary:logistic", values=4)
    booster.set_attr(values=json.dumps(["ä", "b", "c", "d"]))
    found, attributes = forest_of(saved(booster))
    assert (found.inputs, found.groups, found.exclusive) == (INPUTS, 4, False)
    assert json.loads(attributes["values"]) == ["ä", "b", "c", "d"]


@pytest.mark.parametrize(
    ("column", "node", "value", "reason"),
    [
        ("left_children", 1, 0, "circle"),
        ("right_children", 0, 1, "the same one"),
        ("right_children", 0, 10_000, "outside"),
        ("split_indices", 0, INPUTS, "input"),
        ("split_indices", 0, -1, "input"),
        ("split_conditions", 0, float("nan"), "not a number"),
        ("split_conditions", 0, float("inf"), "not a number"),
        ("split_type", 0, 1, "categories"),
    ],
)
def test_a_node_that_leads_astray_is_refused(
    booster: xgboost.Booster, column: str, node: int, value: float, reason: str
) -> None:
    model = saved(booster)
    model["learner"]["gradient_booster"]["model"]["trees"][0][column][node] = value
    with pytest.raises(ValueError, match=reason):
        forest_of(model)


@pytest.mark.parametrize(
    ("roots", "base", "reason"),
    [
        ([0, 1], [0.0] * 3, "take turns"),
        ([], [0.0], "take turns"),
        ([0], [], "take turns"),
        ([1, 0], [0.0], "one behind the other"),
        ([0, 0], [0.0], "one behind the other"),
        ([0, 2**31 - 1], [0.0], "one behind the other"),
        ([0, 1, 2**31 - 1, -(2**31)], [0.0], "one behind the other"),
        ([0, 1], [float("nan")], "not a number"),
    ],
)
def test_trees_that_do_not_fit_together_are_refused(roots: list[int], base: list[float], reason: str) -> None:
    nodes = np.zeros(2, NODE)
    nodes["left"] = nodes["right"] = np.arange(2)
    with pytest.raises(ValueError, match=reason):
        Trees.checked(1, nodes, np.array(roots, np.int32), np.array(base, np.float32))


def test_a_tree_that_is_endlessly_deep_is_refused_at_once() -> None:
    nodes = np.zeros(2_000_001, NODE)
    nodes["left"] = nodes["right"] = np.arange(len(nodes))
    inner = np.arange(0, len(nodes) - 1, 2)
    nodes["left"][inner], nodes["right"][inner] = inner + 1, inner + 2
    with pytest.raises(ValueError, match="more than 64 levels"):
        Trees.checked(1, nodes, np.zeros(1, np.int32), np.zeros(1, np.float32))


def test_another_kind_of_model_is_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(50, INPUTS))
    ranking = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(rows, rows[:, 0]), 2)
    with pytest.raises(ValueError, match="objective"):
        forest_of(saved(ranking))
    with pytest.raises(ValueError, match="not a model"):
        forest_of({"a": 1})
