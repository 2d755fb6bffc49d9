"""Which recipe `auto` takes: by photos, device and weights; and what it says of it."""

from __future__ import annotations

import re
from typing import Any

import pytest

from lookalike import starts
from lookalike.errors import SettingsError
from lookalike.learning.choice import Choice, choose
from lookalike.learning.recipes import recipe_named
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.workplace import Workplace, open_workplace
from tests.shop import Shop

CPU: dict[str, Any] = {"gpu": False, "cores": 2, "lite0": True}
GPU: dict[str, Any] = {"gpu": True, "cores": 16, "lite0": True}


@pytest.mark.parametrize(
    ("photos", "machine", "weights", "recipe", "why"),
    [
        (1358, CPU, "", "frozen", "1,358 photos are few"),
        (4393, CPU, "", "tuned", "4,393 photos are enough to tune"),
        (200_000, CPU, "", "frozen", "would take 14 hours on 2 CPU cores"),
        (4393, CPU, "scratch", "small_cpu", r"from scratch \(asked for\)"),
        (4393, CPU | {"lite0": False}, "", "small_cpu", "`weights` is not installed"),
        (4393, GPU, "", "tuned", "enough to tune"),
        (200_000, GPU, "", "ebay_resnet50", "enough to learn from scratch"),
        (4393, GPU, "scratch", "ebay_resnet50", "on a GPU"),
        (4393, GPU, "timm:vit_small_patch14_dinov2", "tuned_adamw", "by AdamW"),
        (4393, GPU, "torchvision:resnet50", "tuned", "enough to tune"),
    ],
)
def test_the_choice_and_why(
    photos: int, machine: dict[str, Any], weights: str, recipe: str, why: str
) -> None:
    choice = choose(photos, weights=weights, **machine)
    assert choice.recipe == recipe
    assert recipe_named(choice.recipe).name == recipe
    assert re.search(why, choice.why)


def test_minutes_are_those_of_a_measured_machine_or_not_given() -> None:
    assert choose(4393, **CPU).minutes == pytest.approx(2 * (choose(4393, **CPU | {"cores": 4}).minutes or 0))
    assert choose(4393, **GPU).minutes is None
    assert choose(4393, weights="lite2", **CPU).minutes is None, "only lite0 was measured"
    assert str(Choice("tuned", "so it is", 18.3)).endswith("so it is; about 18 minutes on this machine")
    assert str(Choice("tuned", "so it is", 200.0)).endswith("about 3.3 hours on this machine")
    assert str(Choice("tuned", "so it is", None)).endswith("no estimate")


@pytest.fixture
def place(shop: Shop) -> Workplace:
    return open_workplace(shop.store.uri)


def test_a_step_asks_the_snapshot_for_its_photos(shop: Shop, place: Workplace) -> None:
    curated = Ref.parse(read_manifest(place.store, shop.index).inputs["curated"])
    said: list[str] = []
    found = starts.chosen_recipe(place, curated, "auto", gpu=False, weights="lite0", told=said.append)
    assert found == "frozen"
    assert said[0].startswith("recipe frozen: ")
    assert starts.chosen_recipe(place, curated, "tiny", told=said.append) == "tiny"
    assert len(said) == 1
    own = starts.chosen_recipe(place, curated, "auto", weights=str(shop.release), told=said.append)
    assert own == "test"


def test_what_cannot_start_is_refused_before_anything_runs(place: Workplace) -> None:
    for recipe in ("auto", "tuned"):
        with pytest.raises(SettingsError, match="did you mean lite0"):
            starts.check_weights(place, "lit0", recipe)
    with pytest.raises(SettingsError, match="cannot start from scratch"):
        starts.check_weights(place, "scratch", "frozen")
    starts.check_weights(place, "scratch", "auto")
