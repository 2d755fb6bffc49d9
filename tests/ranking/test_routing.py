"""Which categories a search opens."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lookalike.ranking.routing import open_categories

ALL = np.ones(4, bool)


def opened(probabilities: list[float], present: np.ndarray = ALL, **knobs: float) -> list[int]:
    settings = {"mass": 0.9, "at_least": 1, "at_most": 0} | knobs
    return open_categories(np.array(probabilities, np.float32), present, **settings).tolist()  # type: ignore[arg-type]


def test_a_sure_photo_opens_one_category() -> None:
    assert opened([0.02, 0.95, 0.02, 0.01]) == [1]


def test_an_unsure_photo_opens_as_many_as_the_mass_needs() -> None:
    assert opened([0.4, 0.1, 0.35, 0.15]) == [0, 2, 3]


def test_limits_hold_in_both_directions() -> None:
    assert opened([0.4, 0.1, 0.35, 0.15], at_most=2) == [0, 2]
    assert opened([0.02, 0.95, 0.02, 0.01], at_least=3) == [1, 0, 2]


def test_the_full_mass_opens_everything_up_to_the_limit() -> None:
    assert opened([1.0, 0.0, 0.0, 0.0], mass=1) == [0, 1, 2, 3]
    assert opened([1.0, 0.0, 0.0, 0.0], mass=1, at_most=2) == [0, 1]


def test_categories_without_listings_are_never_opened() -> None:
    present = np.array([True, False, True, True])
    assert opened([0.02, 0.95, 0.02, 0.01], present, mass=0.5) == [0, 2]
    assert opened([0.5, 0.5, 0, 0], np.zeros(4, bool)) == []


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=20).filter(lambda p: sum(p) > 0.01),
    st.floats(0.05, 0.99),
)
def test_the_opened_set_is_the_smallest_that_reaches_the_mass(shares: list[float], mass: float) -> None:
    p = np.array(shares, np.float32)
    found = open_categories(p, np.ones(len(p), bool), mass=mass, at_least=1, at_most=0)
    total = p.astype(float).sum()
    assert p[found].astype(float).sum() >= mass * total - 1e-6 * total - 1e-8
    if len(found) > 1:
        assert p[found[:-1]].astype(float).sum() < mass * total
    assert list(p[found]) == sorted(p, reverse=True)[: len(found)]
