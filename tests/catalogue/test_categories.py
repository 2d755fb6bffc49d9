"""What becomes of categories that are too small to learn."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.catalogue.categories import plan_categories

NAMES = [*"ab", *(f"{top}/{leaf}" for top in "ab" for leaf in "xyz"), "a/x/one", "a/x/two"]


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


def test_what_a_model_knows_stays_and_what_it_does_not_joins_what_it_knows() -> None:
    counts = {"a/x": 3, "a/y": 40, "a/new": 30, "b": 9, "b/small": 2, "c/z": 4, "d/new": 50}
    known = {"a/x", "a/y", "b", "c"}
    plan = plan_categories(counts, 10, known)
    assert plan.becomes == {
        "a/x": "a/x",
        "a/y": "a/y",
        "a/new": "a/new",
        "b": "b",
        "b/small": "b",
        "c/z": "c",
        "d/new": "d/new",
    }
    assert plan.left_out == ()
    assert plan_categories({"b": 90, "b/large": 70}, 10, {"b"}).becomes == {"b": "b", "b/large": "b"}


@settings(max_examples=300, deadline=None)
@given(
    counts=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 6), min_size=1),
    known=st.sets(st.sampled_from(NAMES)),
)
def test_a_plan_that_suits_a_model_is_the_plan_for_it(counts: dict[str, int], known: set[str]) -> None:
    plan = plan_categories(counts, 4)
    if plan.suits(known):
        assert plan_categories(counts, 4, known) == plan
    learned = set(plan.becomes.values())
    assert plan_categories(counts, 4, learned).becomes == plan.becomes


def test_siblings_are_children_of_one_parent_only() -> None:
    plan = plan_categories({"a/x/one": 6, "a/y/two": 6, "a/z/three": 20}, 10)
    assert plan.left_out == ("a/x/one", "a/y/two")
