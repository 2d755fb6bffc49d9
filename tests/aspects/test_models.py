"""Aspect models learn what features tell, say what they left out, survive saving, and are quick."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lookalike.aspects.boosting import AspectTraining
from lookalike.aspects.models import AspectModels, model_inputs
from lookalike.aspects.training import fit_aspects
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.errors import ReleaseError

CATEGORIES = ("bags/tote", "shoes/boot", "tops/shirt")
COLOURS = ("black", "blue", "red")


@pytest.fixture(scope="module")
def catalogue() -> dict[str, object]:
    """600 listings: colour and materials show in the features, the sleeve follows the category."""
    rng = np.random.default_rng(3)
    features = rng.normal(size=(600, 32)).astype(np.float32)
    category = rng.integers(0, 3, 600)
    colour = features[:, :3].argmax(axis=1)
    materials = [
        tuple(m for m, on in zip(("cotton", "wool"), row[4:6] > 0, strict=True) if on) for row in features
    ]
    values = {
        "colour": [(COLOURS[c],) if i % 10 else () for i, c in enumerate(colour)],
        "sleeve": [("long",) if c == 2 else ("none",) for c in category],
        "material/outer": materials,
        "size": [("41",) if i < 5 else () for i in range(600)],
        "new": [("yes",)] * 600,
    }
    values["colour"][1] = ("chartreuse",)
    return {
        "features": features,
        "category_indices": category,
        "categories": CATEGORIES,
        "values": values,
        "is_validation": np.arange(600) % 4 == 0,
    }


@pytest.fixture(scope="module")
def fitted(catalogue: dict[str, object]) -> AspectModels:
    return fit_aspects(**catalogue)  # type: ignore[arg-type]


def card_for(models: AspectModels) -> ModelCard:
    return ModelCard(
        architecture="resnet18",
        recipe="test",
        categories=CATEGORIES,
        preset=TransformPreset("test", 64, 56),
        bits=64,
        features=32,
        aspects=models.values,
    )


def inputs_of(catalogue: dict[str, object]) -> np.ndarray:
    return model_inputs(catalogue["features"], catalogue["category_indices"], 3)  # type: ignore[arg-type]


def load(models: AspectModels, directory: Path) -> AspectModels:
    models.save(directory / "trees.npz")
    return AspectModels.read(directory / "trees.npz", card_for(models))


def test_each_aspect_beats_its_majority_class_on_held_out_listings(fitted: AspectModels) -> None:
    for name in ("colour", "sleeve", "material/outer"):
        metrics = fitted.metrics[name]
        assert metrics["accuracy"] > metrics["majority"] + 0.15, (name, metrics)
    assert fitted.metrics["sleeve"]["accuracy"] == 1.0, "the leaf category is an input"
    assert fitted.metrics["material/outer"]["multi_valued"]
    assert not fitted.metrics["colour"]["multi_valued"]


def test_how_sure_a_prediction_must_be_is_measured_on_held_out_listings(
    fitted: AspectModels, catalogue: dict[str, object]
) -> None:
    for name in fitted.values:
        metrics = fitted.metrics[name]
        probability, predictions, right = zip(*metrics["sure"], strict=True)
        assert list(probability) == sorted(probability)
        assert list(predictions) == sorted(predictions, reverse=True)
        assert all(r <= n for r, n in zip(right, predictions, strict=True))
        assert predictions[0] == metrics["held_out"]
        assert right[0] / predictions[0] == pytest.approx(metrics["accuracy"], abs=1e-4)
    colour = {at: r / n for at, n, r in fitted.metrics["colour"]["sure"] if n}
    assert colour[0.8] > colour[0.1], "the surer, the more often right"


def test_with_folds_every_row_is_judged_once_by_models_that_did_not_learn_from_it(
    fitted: AspectModels, catalogue: dict[str, object]
) -> None:
    folded = fit_aspects(**catalogue, training=AspectTraining(folds=3))  # type: ignore[arg-type]
    for name in ("colour", "sleeve", "material/outer"):
        metrics, stated = folded.metrics[name], catalogue["values"][name]  # type: ignore[index]
        assert metrics["held_out"] == metrics["sure"][0][1] == sum(map(bool, stated))
        assert metrics["rows"] >= fitted.metrics[name]["rows"] * 1.2, "all rows are learned from"
        assert metrics["majority"] + 0.15 < metrics["accuracy"]
    chances = np.concatenate([model.probabilities(inputs_of(catalogue)) for model in folded.models], axis=1)
    assert chances.shape == (600, 3 + 2 + 2)


def test_rows_of_one_group_are_judged_together(catalogue: dict[str, object]) -> None:
    """Brands are dealt out by product: who has seen a product's other photo knows its brand, and nobody else."""
    rng = np.random.default_rng(5)
    product = np.arange(600) // 6
    brand = rng.integers(0, 4, 100)[product]
    features = (rng.normal(size=(100, 32)) * 3)[product] + rng.normal(size=(600, 32)) * 0.1
    given = catalogue | {
        "features": features.astype(np.float32),
        "values": {"brand": [(f"brand-{b}",) for b in brand]},
        "training": AspectTraining(folds=3),
    }
    alone = fit_aspects(**given).metrics["brand"]  # type: ignore[arg-type]
    together = fit_aspects(**given, groups=[f"{p}" for p in product]).metrics["brand"]  # type: ignore[arg-type]
    assert alone["accuracy"] > 0.6
    assert together["accuracy"] < together["majority"] + 0.1


def test_rare_aspects_and_values_are_left_out_and_said(fitted: AspectModels) -> None:
    assert set(fitted.values) == {"colour", "sleeve", "material/outer"}
    assert "rows" in fitted.metrics["size"]["left_out"]
    assert "one value" in fitted.metrics["new"]["left_out"]
    assert fitted.values["colour"] == COLOURS
    assert fitted.metrics["colour"]["rare_values"] == 1


def test_predictions_are_ordered_and_name_the_likeliest_value(fitted: AspectModels) -> None:
    features = np.zeros((2, 32), np.float32)
    features[0, 2] = features[1, 1] = 3
    features[0, 4:6] = 2
    features[1, 4:6] = -2
    red, blue = fitted.predict(features, np.eye(3, dtype=np.float32)[[2, 0]])
    assert red["colour"][0][0] == "red"
    assert blue["colour"][0][0] == "blue"
    assert red["sleeve"][0] == ("long", pytest.approx(1, abs=0.1))
    assert {value for value, p in red["material/outer"] if p > 0.5} == {"cotton", "wool"}
    for reply in (red, blue):
        for ranked in reply.values():
            assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)


def test_saved_models_answer_the_same(
    fitted: AspectModels, catalogue: dict[str, object], tmp_path: Path
) -> None:
    loaded = load(fitted, tmp_path)
    features = catalogue["features"][:50]  # type: ignore[index]
    probabilities = np.eye(3, dtype=np.float32)[catalogue["category_indices"][:50]]  # type: ignore[index]
    assert loaded.predict(features, probabilities) == fitted.predict(features, probabilities)


def test_each_model_alone_says_what_all_say_together(
    fitted: AspectModels, catalogue: dict[str, object]
) -> None:
    features = catalogue["features"]
    likeliest = catalogue["category_indices"]
    together = fitted.predict(features, np.eye(3, dtype=np.float32)[likeliest])  # type: ignore[arg-type,index]
    inputs = model_inputs(features, likeliest, 3)  # type: ignore[arg-type]
    for model in fitted.models:
        for said, alone in zip(together, model.probabilities(inputs), strict=True):
            assert said[model.name][0] == (model.values[alone.argmax()], round(float(alone.max()), 4))


def test_the_number_of_threads_does_not_change_the_models(
    catalogue: dict[str, object], tmp_path: Path
) -> None:
    fit_aspects(**catalogue, threads=1).save(tmp_path / "one.npz")  # type: ignore[arg-type]
    fit_aspects(**catalogue, threads=2).save(tmp_path / "two.npz")  # type: ignore[arg-type]
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_models_of_another_release_are_refused(fitted: AspectModels, tmp_path: Path) -> None:
    path = tmp_path / "trees.npz"
    fitted.save(path)
    card = card_for(fitted)
    fewer = {name: values for name, values in card.aspects.items() if name != "colour"}
    other = dict(card.aspects) | {"colour": ("black", "blue", "green")}
    for another in (replace(card, aspects=fewer), replace(card, aspects=other), replace(card, features=31)):
        with pytest.raises(ReleaseError, match=r"trees\.npz .*made for this model card"):
            AspectModels.read(path, another)


def test_a_catalogue_without_aspects_predicts_none() -> None:
    rows = AspectModels.none(3).predict(np.zeros((2, 8), np.float32), np.eye(3, dtype=np.float32)[:2])
    assert rows == [{}, {}]


def test_one_photo_costs_a_few_milliseconds(fitted: AspectModels, tmp_path: Path) -> None:
    models = load(fitted, tmp_path)
    features, probabilities = np.zeros((1, 32), np.float32), np.eye(3, dtype=np.float32)[:1]
    times = []
    for _ in range(30):
        start = time.perf_counter()
        models.predict(features, probabilities)
        times.append(time.perf_counter() - start)
    assert sorted(times)[len(times) // 2] < 0.005 * len(models.models)
