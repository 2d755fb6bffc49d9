"""A forest walked by us answers what XGBoost answers, and a damaged model is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xgboost

from lookalike.learning import ubjson
from lookalike.learning.forest import Forest

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


def saved(booster: xgboost.Booster) -> bytes:
    return bytes(booster.save_raw("ubj"))


@pytest.fixture(scope="module")
def model() -> bytes:
    return saved(train("multi:softprob"))


@pytest.mark.parametrize("objective", ["multi:softprob", "binary:logistic"])
@pytest.mark.parametrize("values", [2, 7])
@pytest.mark.parametrize("depth", [1, 6])
def test_it_answers_what_xgboost_answers(objective: str, values: int, depth: int) -> None:
    booster = train(objective, values=values, depth=depth)
    rows = np.random.default_rng(9).normal(size=(700, INPUTS)).astype(np.float32)
    forest = Forest.parse(saved(booster))
    margins = booster.inplace_predict(rows, predict_type="margin").reshape(700, values)
    if objective == "multi:softprob":
        np.testing.assert_array_equal(forest.trees.margins(rows), margins)
    else:  # the base margin is a logarithm, which may differ in its last bit
        np.testing.assert_allclose(forest.trees.margins(rows), margins, atol=2e-6)
    expected = booster.inplace_predict(rows).reshape(700, values)
    np.testing.assert_allclose(forest.probabilities(rows), expected, atol=3e-7)


def test_an_input_on_the_threshold_goes_the_way_it_goes_in_xgboost() -> None:
    booster = train("multi:softprob")
    forest = Forest.parse(saved(booster))
    nodes = forest.trees.nodes
    thresholds = nodes["threshold"][nodes["left"] != np.arange(len(nodes))][:200]
    rows = np.repeat(thresholds[:, None], INPUTS, axis=1)
    expected = booster.inplace_predict(rows, predict_type="margin")
    np.testing.assert_array_equal(forest.trees.margins(rows), expected)


def test_rows_that_are_too_short_are_refused(model: bytes) -> None:
    with pytest.raises(ValueError, match="20 are looked at"):
        Forest.parse(model).probabilities(np.zeros((2, INPUTS - 1), np.float32))


def test_attributes_and_sizes_come_with_it() -> None:
    booster = train("binary:logistic", values=4)
    booster.set_attr(values=json.dumps(["ä", "b", "c", "d"]))
    forest = Forest.parse(saved(booster))
    assert (forest.inputs, forest.groups, forest.exclusive) == (INPUTS, 4, False)
    assert json.loads(forest.attributes["values"]) == ["ä", "b", "c", "d"]


def test_a_model_that_is_cut_off_anywhere_is_refused(model: bytes) -> None:
    for end in range(0, len(model), 211):
        with pytest.raises(ValueError, match="UBJSON"):
            Forest.parse(model[:end])


def test_a_model_with_changed_bytes_is_refused_or_still_ends_in_its_leaves(model: bytes) -> None:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(3, INPUTS)).astype(np.float32)
    for _ in range(300):
        damaged = bytearray(model)
        for at in rng.integers(0, len(model), 3):
            damaged[at] = rng.integers(256)
        try:
            forest = Forest.parse(bytes(damaged))
        except ValueError:
            continue
        assert forest.probabilities(rows).shape == (3, forest.groups)


@pytest.mark.parametrize(
    ("column", "node", "value", "reason"),
    [
        ("left_children", 1, 0, "circle"),
        ("right_children", 0, 10_000, "outside"),
        ("split_indices", 0, INPUTS, "input"),
        ("split_type", 0, 1, "categories"),
    ],
)
def test_a_node_that_leads_astray_is_refused(
    model: bytes, column: str, node: int, value: int, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        Forest.parse(with_value(model, column, node, value))


def test_another_kind_of_model_is_refused() -> None:
    rows = np.random.default_rng(0).normal(size=(50, INPUTS))
    ranking = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix(rows, rows[:, 0]), 2)
    with pytest.raises(ValueError, match="objective"):
        Forest.parse(saved(ranking))
    with pytest.raises(ValueError, match="not a model"):
        Forest.parse(b"{i\x01ai\x01}")


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"Z", None),
        (b"[TFi\xff]", [True, False, -1]),
        (b"{i\x01aSi\x02hiU\x01bCx}", {"a": "hi", "b": "x"}),
        (b"[#i\x02I\x01\x00D\x3f\xf8\x00\x00\x00\x00\x00\x00", [256, 1.5]),
        (b"{$U#i\x01i\x01k\x07", {"k": 7}),
    ],
)
def test_the_types_of_ubjson(data: bytes, value: object) -> None:
    assert ubjson.parse(data) == value


def test_an_array_of_one_type_is_a_numpy_array() -> None:
    array = ubjson.parse(b"[$l#i\x02\x00\x00\x00\x01\xff\xff\xff\xff")
    assert array.dtype == np.int32
    assert array.tolist() == [1, -1]


@pytest.mark.parametrize("data", [b"", b"[", b"ZZ", b"N", b"[$l", b"[$l#i\x7f", b"Si\xff", b"[" * 100])
def test_what_is_not_ubjson_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="UBJSON"):
        ubjson.parse(data)


def with_value(model: bytes, column: str, node: int, value: int) -> bytes:
    """`model` with one entry of a column of its first tree changed."""
    name = column.encode()
    start = model.index(name) + len(name) + len("[$l#L") + 8
    if model[start - 11 : start - 9] == b"$U" or model[start - 11 : start - 9] == b"$i":
        return model[: start + node] + bytes([value]) + model[start + node + 1 :]
    at = start + 4 * node
    return model[:at] + value.to_bytes(4, "big") + model[at + 4 :]
