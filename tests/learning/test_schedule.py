"""Learning rates: one cosine cycle, or the paper's rounds."""

from __future__ import annotations

import pytest

from lookalike.learning.recipes import RECIPES, Stage
from lookalike.learning.schedule import Schedule

PAPER = Stage(epochs=50, rate=1.0, policy="plateau", warmup_epochs=0, patience=1, lowered_to=0.1, rounds=3)


def test_cosine_rises_to_the_rate_and_falls_to_zero() -> None:
    schedule = Schedule(Stage(epochs=10, rate=0.4, warmup_epochs=2), steps=5)
    rates = [schedule.rate(epoch, step) for epoch in range(10) for step in range(5)]
    assert rates.index(max(rates)) == 9
    assert max(rates) == pytest.approx(0.4)
    assert rates[:10] == sorted(rates[:10])
    assert rates[9:] == sorted(rates[9:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_the_rate_is_lowered_when_validation_saturates() -> None:
    schedule = Schedule(PAPER, steps=1)
    rates = []
    for accuracy in (0.5, 0.6, 0.6, 0.59, 0.7, 0.7, 0.7):
        schedule.observe(accuracy)
        rates.append(schedule.rate(0, 0))
    assert rates == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01])
    assert not schedule.finished


def test_the_last_round_ends_the_stage() -> None:
    schedule = Schedule(PAPER, steps=1)
    count = 0
    while not schedule.finished:
        schedule.observe(0.5)
        count += 1
    assert count == 1 + 3 * 2  # the best epoch, then patience + 1 epochs a round


def test_a_schedule_goes_on_from_its_state() -> None:
    whole, resumed = Schedule(PAPER, steps=1), Schedule(PAPER, steps=1)
    accuracies = (0.3, 0.2, 0.25, 0.4, 0.4)
    for accuracy in accuracies[:3]:
        whole.observe(accuracy)
    resumed.load_state(whole.state())
    for accuracy in accuracies[3:]:
        assert whole.observe(accuracy) == resumed.observe(accuracy)
    assert whole.state() == resumed.state()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_is_complete(name: str) -> None:
    recipe = RECIPES[name]()
    assert recipe == RECIPES[name]()
    assert recipe.name == name
    assert recipe.bits % 8 == 0
    assert recipe.preset.crop <= recipe.preset.resize
    sizes = recipe.category_stage.sizes
    assert list(sizes) == sorted(sizes)
    assert all(size <= recipe.preset.crop for _, size in sizes)


def test_the_papers_recipe_is_the_papers() -> None:
    recipe = RECIPES["ebay_resnet50"]()
    assert (recipe.trunk, recipe.bits, recipe.preset.resize, recipe.preset.crop) == (
        "resnet50",
        4096,
        256,
        227,
    )
    assert recipe.category_stage.policy == recipe.hash_stage.policy == "plateau"
