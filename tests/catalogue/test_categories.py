"""What becomes of categories that are too small to learn."""

from __future__ import annotations

from lookalike.catalogue.categories import plan_categories


def test_small_siblings_merge_into_their_parent() -> None:
    plan = plan_categories({"home/vase": 6, "home/candle": 5, "home/mug": 40}, 10)
    assert plan.becomes == {"home/mug": "home/mug", "home/vase": "home", "home/candle": "home"}
    assert plan.merged == {"home": ("home/candle", "home/vase")}
    assert plan.left_out == ()


def test_what_is_too_small_even_together_is_left_out() -> None:
    plan = plan_categories({"home/vase": 4, "home/candle": 5, "home/mug": 10, "odd": 3}, 10)
    assert plan.becomes == {"home/mug": "home/mug"}
    assert plan.left_out == ("home/candle", "home/vase", "odd")


def test_listings_right_at_the_parent_count_and_stay() -> None:
    plan = plan_categories({"home": 7, "home/vase": 4, "garden": 6}, 10)
    assert plan.becomes == {"home": "home", "home/vase": "home"}
    assert plan.left_out == ("garden",)
    large = plan_categories({"home": 70, "home/vase": 1}, 10)
    assert large.becomes == {"home": "home", "home/vase": "home"}


def test_siblings_are_children_of_one_parent_only() -> None:
    plan = plan_categories({"a/x/one": 6, "a/y/two": 6, "a/z/three": 20}, 10)
    assert plan.left_out == ("a/x/one", "a/y/two")
