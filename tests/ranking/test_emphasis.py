"""How much bits about colours count: a weighted sum of expected differences, whoever re-scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.errors import QueryError, SettingsError
from lookalike.ranking.emphasis import Emphasis
from lookalike.ranking.request import RankingConfig, SearchRequest
from lookalike.ranking.rescoring import Rescorer

BITS, CATEGORY_BITS, COLOUR_BITS = 64, 8, 16


@settings(deadline=None)
@given(st.floats(0, 16), st.integers(0, 2**32 - 1))
def test_a_colour_bit_counts_as_often_as_asked(colour: float, seed: int) -> None:
    """By the definition, bit by bit, against the re-scorer with moved probabilities."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 256, (20, BITS // 8), np.uint8)
    chances = rng.random(BITS).astype(np.float32)
    emphasis = Emphasis(BITS, CATEGORY_BITS, COLOUR_BITS, colour)
    found = emphasis.distances(Rescorer(emphasis.moved(chances)).distances(codes, np.arange(len(codes))))
    others = BITS - CATEGORY_BITS - COLOUR_BITS
    weights = np.array([max(1.0, colour**0.5)] * CATEGORY_BITS + [1.0] * others + [colour] * COLOUR_BITS)
    bits = np.unpackbits(codes, axis=1)
    differences = np.where(bits == 1, 1 - chances, chances)
    expected = (differences * weights).sum(axis=1) * BITS / weights.sum()
    assert np.abs(found - expected).max() < 0.02 * max(1.0, colour)  # 65536ths of a bit, scaled up


def test_a_release_without_such_bits_is_scored_as_before() -> None:
    card = ModelCard("grid", "test", ("a",), TransformPreset("p", 64, 56), BITS, 8)
    chances = np.linspace(0, 1, BITS, dtype=np.float32)
    emphasis = Emphasis.of(card, 8.0)
    assert emphasis.moved(chances) is chances
    assert emphasis.distances(chances) is chances


@pytest.mark.parametrize("colour", [-0.1, 16.1, float("nan")])
def test_a_weight_out_of_range_is_refused(colour: float) -> None:
    with pytest.raises(QueryError, match="colour must be between"):
        SearchRequest(colour=colour)
    with pytest.raises(SettingsError, match="colour must be between"):
        RankingConfig(colour=colour)
