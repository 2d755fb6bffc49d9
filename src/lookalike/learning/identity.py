"""What a training is known by: whatever of a recipe changes its result, and nothing else.

Enters: a recipe, and the identity of the weights it starts from. Leaves: the JSON-like configuration that makes, with
the curated snapshot, a release's id; so a training that is finished is found, and one that would end differently is
not. A recipe's name, a stage that is off and a field without effect are left out, and so is every value that means
off (0, false, an empty tuple): a field that a later version adds, off by default, retrains nobody.

Version 0.1 took the whole recipe, name and all. What it has finished is found by its own rule (`configurations`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lookalike.aspects.boosting import AspectTraining

if TYPE_CHECKING:
    from lookalike.learning.recipes import Recipe, Stage

_PLATEAU_ALONE = ("patience", "lowered_to", "rounds")
_TRUNK_ALONE = ("head_factor", "held", "layer_decay", "thawing")
"""Fields of a category stage that trains the trunk."""
_FIELDS_OF_0_1: Mapping[str, tuple[str, ...]] = {
    "": ("name", "trunk", "bits", "hash_head", "bf16", "seed"),
    "preset": ("name", "resize", "crop", "mean", "std"),
    "augmentation": (
        *("area", "aspect", "degrees", "mirror", "brightness", "contrast", "saturation"),
        *("tint", "grey", "blur", "erase"),
    ),
    **dict.fromkeys(
        ("category_stage", "hash_stage"),
        (
            *("epochs", "rate", "batch", "momentum", "weight_decay", "policy", "warmup_epochs"),
            *("patience", "lowered_to", "rounds", "label_smoothing", "mixup", "average", "sizes"),
            *("views", "trunk_share"),
        ),
    ),
}
"""Section of the recipe -> its fields, as version 0.1 had them."""


def configurations(recipe: Recipe, weights: str = "") -> list[dict[str, Any]]:
    """Under which configurations a training by `recipe` from `weights` may be finished.

    The first is the one to train under; version 0.1's follows, where that could have trained by this recipe.
    """
    found: list[dict[str, Any]] = [{"format": 2, "recipe": identity(recipe)}]
    if (earlier := _identity_of_0_1(recipe)) is not None:
        found.append({"format": 1, "recipe": earlier})
    return [each | ({"weights": weights} if weights else {}) for each in found]


def is_training_by(recipe: Recipe, config: Mapping[str, Any]) -> bool:
    """Whether a release's configuration is that of a training by `recipe`, whatever it started from."""
    asked = {name: value for name, value in config.items() if name != "weights"}
    return asked in configurations(recipe)


def identity(recipe: Recipe) -> dict[str, Any]:
    """What of `recipe` changes its result, JSON-like."""
    without = _without_effect(recipe)

    def kept(section: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        for name, value in fields.items():
            path = f"{section}.{name}" if section else name
            value = dict(kept(path, value)) if isinstance(value, Mapping) else _plain(value)
            if value and path not in without:
                yield name, value

    return dict(kept("", asdict(recipe)))


def _without_effect(recipe: Recipe) -> frozenset[str]:
    """Fields, and stages as a whole, that `recipe` could have otherwise without another result."""
    category, hashing = recipe.category_stage, recipe.hash_stage
    learned = recipe.hash_head != "split" and hashing.epochs > 0  # `split` is fitted, not trained
    tuned = learned and hashing.trunk_share > 0
    found = {"name", "weights", "preset.name", "category_stage.trunk_share"}
    folds = recipe.aspects.folds if recipe.frozen else 0
    if replace(recipe.aspects, folds=folds) == AspectTraining():  # the only way when recipes did not say
        found.add("aspects")
    if not recipe.frozen:
        found |= {"category_stage.views", "aspects.folds"}
    found |= _unused(category, "category_stage") | _unused(hashing, "hash_stage")
    if not category.epochs:
        found.add("category_stage")
    if not learned:
        found.add("hash_stage")
    found.add(
        "hash_stage.views" if tuned else "hash_stage.sizes"
    )  # features are computed anew, or once per view
    if recipe.hash_head != "split":
        found.add("variants")
    if recipe.frozen:
        found |= {f"category_stage.{name}" for name in ("sizes", *_TRUNK_ALONE)}
    found |= {f"hash_stage.{name}" for name in _TRUNK_ALONE}
    augmented = category.views > 1 if recipe.frozen else True
    if not ((category.epochs and augmented) or tuned or (learned and hashing.views != 1)):
        found.add("augmentation")
    return frozenset(found)


def _unused(stage: Stage, name: str) -> set[str]:
    unused = () if stage.policy == "plateau" else _PLATEAU_ALONE
    usual = ("optimizer",) if stage.optimizer == "sgd" else ()  # the only one there was when none was named
    return {f"{name}.{field}" for field in (*unused, *usual)}


def _plain(value: Any) -> Any:
    """`value` in JSON's types, 1.0 and 1 alike."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _identity_of_0_1(recipe: Recipe) -> dict[str, Any] | None:
    """The recipe as version 0.1 named it; None where it has something on that 0.1 did not know."""
    fields: dict[str, Any] = json.loads(json.dumps(asdict(recipe), allow_nan=False))
    effective = identity(recipe)
    for section, known in _FIELDS_OF_0_1.items():
        inside, counts = (fields[section], effective.get(section, {})) if section else (fields, effective)
        for name in inside.keys() - {*known, *(() if section else _FIELDS_OF_0_1)}:
            if name in counts:
                return None
            del inside[name]
    return fields
