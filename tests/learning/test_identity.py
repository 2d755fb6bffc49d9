"""A training is known by what changes its result: every field that does, and none that does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, make_dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from lookalike.coding.release import TransformPreset
from lookalike.learning.identity import configurations, identity, is_training_by
from lookalike.learning.recipes import Recipe, Stage
from lookalike.storage.artefacts import ArtefactWriter, Kind
from lookalike.storage.directory import DirectoryStore

FROZEN = Recipe(
    "a",
    trunk="resnet10-w8",
    preset=TransformPreset("squash-40-32", 40, 32),
    category_stage=Stage(epochs=4, rate=0.05, batch=32, warmup_epochs=1.0, average=0.9),
    hash_stage=Stage(epochs=3, rate=0.5, batch=64, weight_decay=0.0, views=2),
    bits=512,
    bf16=False,
)
"""The hash layer is trained on features of a frozen trunk, which are computed once per view."""
TUNED = replace(FROZEN, hash_stage=replace(FROZEN.hash_stage, trunk_share=0.1, policy="plateau"))
SPLIT = replace(FROZEN, hash_head="split")
UNTRAINED = replace(FROZEN, category_stage=replace(FROZEN.category_stage, epochs=0))
ALL_OFF = replace(SPLIT, category_stage=replace(FROZEN.category_stage, epochs=0))
PLATEAU = {"patience", "lowered_to", "rounds"}
HASH_STAGE = {f"hash_stage.{field.name}" for field in fields(Stage)}
AUGMENTATION = {f"augmentation.{field.name}" for field in fields(FROZEN.augmentation)}
FEW = {"name", "weights", "preset.name", "category_stage.trunk_share"}
NEVER = FEW | {"category_stage.views", "aspects.folds"}
COSINE = {f"category_stage.{name}" for name in PLATEAU}
TRUNK = {f"hash_stage.{name}" for name in ("head_factor", "held", "layer_decay", "thawing")}
"""How fast the trunk's layers learn is said by the category stage alone."""


@pytest.mark.parametrize(
    ("recipe", "without_effect"),
    [
        (FROZEN, {"variants", "hash_stage.sizes"} | {f"hash_stage.{name}" for name in PLATEAU}),
        (TUNED, {"variants", "hash_stage.views"}),
        (SPLIT, HASH_STAGE),
        (
            replace(SPLIT, hash_head="sigmoid", hash_stage=replace(SPLIT.hash_stage, epochs=0)),
            (HASH_STAGE - {"hash_stage.epochs"}) | {"variants"},
        ),
        (
            UNTRAINED,
            {f"category_stage.{field.name}" for field in fields(Stage)} - {"category_stage.epochs"}
            | {"variants", "hash_stage.sizes"}
            | {f"hash_stage.{name}" for name in PLATEAU},
        ),
        (
            ALL_OFF,
            {f"category_stage.{field.name}" for field in fields(Stage)} - {"category_stage.epochs"}
            | HASH_STAGE
            | AUGMENTATION,
        ),
    ],
)
def test_every_field_counts_but_those_without_effect(recipe: Recipe, without_effect: set[str]) -> None:
    found = {path for path, other in changed(recipe) if identity(other) == identity(recipe)}
    assert found == without_effect | NEVER | COSINE | TRUNK


def test_a_frozen_trunk_sees_photos_once_per_view() -> None:
    """So sizes that grow mean nothing to it, and augmentation nothing where there is one view."""
    category = replace(FROZEN.category_stage, views=1)
    recipe = replace(SPLIT, frozen=True, category_stage=category)
    found = {path for path, other in changed(recipe) if identity(other) == identity(recipe)}
    trunk = {f"category_stage.{name}" for name in ("sizes", "head_factor", "held", "layer_decay", "thawing")}
    once = trunk | AUGMENTATION | HASH_STAGE
    assert found == once | FEW | COSINE


def test_a_number_is_the_same_however_it_is_written() -> None:
    whole = replace(FROZEN, category_stage=replace(FROZEN.category_stage, warmup_epochs=1, mixup=0))
    assert configurations(whole)[0] == configurations(FROZEN)[0]


def test_a_field_that_is_added_and_off_changes_no_identity() -> None:
    assert "mixup" not in identity(FROZEN)["category_stage"]
    assert identity(later(FROZEN, look=0.0)) == identity(FROZEN)
    assert identity(later(FROZEN, look=0.1)) != identity(FROZEN)


def test_the_identity_of_version_0_1_is_as_it_was() -> None:
    """The id that 0.1 itself gave to this recipe, under the name it had."""
    asked = replace(FROZEN, name="tiny")
    writer = writer_of(configurations(asked)[1])
    assert writer.id == "07998df2b72b4b26"
    assert configurations(later(asked, look=0.0))[1] == configurations(asked)[1]
    assert len(configurations(later(asked, look=0.1))) == 1, "0.1 cannot have trained this"


def test_starting_weights_are_part_of_the_identity() -> None:
    ids = [[writer_of(config).id for config in configurations(FROZEN, w)] for w in ("", "one", "other")]
    assert len({each for both in ids for each in both}) == 6


@pytest.mark.parametrize("rule", [0, 1])
def test_a_release_says_whether_a_recipe_trained_it(rule: int) -> None:
    config = configurations(FROZEN, "weights")[rule]
    assert is_training_by(FROZEN, config)
    assert not is_training_by(replace(FROZEN, seed=1), config)
    assert is_training_by(replace(FROZEN, name="other"), config) == (rule == 0)
    assert not is_training_by(FROZEN, {})


def changed(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """`value` with each of its fields changed in turn, and that field's path."""
    for field in fields(value):
        own, at = getattr(value, field.name), f"{path}{field.name}"
        if is_dataclass(own):
            for below, other in changed(own, f"{at}."):
                yield below, replace(value, **{field.name: other})
        else:
            yield at, replace(value, **{field.name: different(own)})


def different(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return {"cosine": "plateau", "plateau": "cosine"}.get(value, value + "x")
    return (*value, (0.5, 8)) if isinstance(value, tuple) else value + 1


def later(recipe: Recipe, **added: Any) -> Recipe:
    """`recipe` in a version that has more fields."""
    kind = make_dataclass(
        "Later",
        [(name, type(value)) for name, value in added.items()],
        bases=(Recipe,),
        kw_only=True,
        frozen=True,
    )
    return kind(**{field.name: getattr(recipe, field.name) for field in fields(recipe)}, **added)  # type: ignore[no-any-return]


def writer_of(config: dict[str, Any]) -> ArtefactWriter:
    curated = f"curated/{'0' * 16}@{'0' * 64}"
    return ArtefactWriter(DirectoryStore(Path()), Kind.RELEASE, inputs={"curated": curated}, config=config)


def test_another_way_of_fitting_aspects_is_another_release_and_the_usual_one_is_not_named() -> None:
    assert "aspects" not in identity(FROZEN)
    deeper = replace(FROZEN, aspects=replace(FROZEN.aspects, depth=6))
    assert identity(deeper)["aspects"]["depth"] == 6
    assert len(configurations(deeper)) < len(configurations(FROZEN)), "version 0.1 could not have trained it"
