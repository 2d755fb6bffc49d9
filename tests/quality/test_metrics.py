"""Ranking measures against hand-counted examples and a slow, obvious implementation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.quality.metrics import (
    average_precision,
    pooled_quality,
    precision_at_k,
    rank_relevance,
    ranking_quality,
    recall_at_k,
    top_k_accuracy,
)


def test_a_hand_counted_ranking() -> None:
    ranked = np.array([[True, False, True, False, False]])
    assert average_precision(ranked)[0] == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert precision_at_k(ranked, 2)[0] == 0.5
    assert recall_at_k(ranked, 2)[0] == 0.5


def test_ties_are_broken_by_gallery_order_and_excluded_rows_never_count() -> None:
    distances = np.array([[1.0, 0.0, 1.0, 0.0]])
    relevant = np.array([[True, False, False, True]])
    assert rank_relevance(distances, relevant).tolist() == [[False, True, True, False]]
    own = np.array([[False, False, False, True]])
    assert rank_relevance(distances, relevant, own).tolist() == [[False, True, False, False]]


def test_queries_without_a_relevant_row_do_not_count() -> None:
    quality = ranking_quality(np.array([[True, False], [False, False]]), ks=(1,))
    assert quality.queries == 1
    assert quality.mean_average_precision == 1.0


def test_a_cut_list_is_held_against_what_it_could_have_found() -> None:
    ranked = np.array([[True, True]])
    assert ranking_quality(ranked, ks=(2,), relevant=np.array([10])).mean_average_precision == 1.0
    assert ranking_quality(ranked, ks=(2,), relevant=np.array([10])).recall_at[2] == 0.2
    assert ranking_quality(np.array([[False, True]]), (2,), np.array([1])).mean_average_precision == 0.5


def test_the_quality_of_parts_makes_that_of_the_whole() -> None:
    ranked = np.random.default_rng(0).random((7, 12)) < 0.2
    ranked[3] = ranked[4] = False  # a part with no query that counts
    parts = [ranking_quality(ranked[rows], (1, 10)) for rows in (slice(0, 3), slice(3, 5), slice(5, 7))]
    whole, pooled = ranking_quality(ranked, (1, 10)), pooled_quality(parts)
    assert pooled.queries == whole.queries
    assert pooled.mean_average_precision == pytest.approx(whole.mean_average_precision)
    for name in ("precision_at", "recall_at", "success_at"):
        assert getattr(pooled, name) == pytest.approx(getattr(whole, name))


def test_success_asks_for_one_relevant_row() -> None:
    ranked = np.array([[False, True, True], [False, False, True]])
    assert ranking_quality(ranked, ks=(1, 2, 3)).success_at == {1: 0.0, 2: 0.5, 3: 1.0}


def test_top_k_accuracy() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    assert top_k_accuracy(scores, np.array([2, 0]), 1) == 0.5
    assert top_k_accuracy(scores, np.array([2, 0]), 2) == 1.0


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=30))
def test_average_precision_is_the_textbook_sum(rows: list[tuple[int, bool]]) -> None:
    distances = np.array([[d for d, _ in rows]], float)
    relevant = np.array([[r for _, r in rows]])
    in_order = [r for _, (_, r) in sorted(enumerate(rows), key=lambda item: (item[1][0], item[0]))]
    ranks = [i for i, r in enumerate(in_order, 1) if r]
    expected = sum(n / rank for n, rank in enumerate(ranks, 1)) / len(ranks) if ranks else None
    found = average_precision(rank_relevance(distances, relevant))[0]
    assert np.isnan(found) if expected is None else found == pytest.approx(expected)
