"""What a catalogue's features have in common, and what it does to distances."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.index.centre import Centre
from lookalike.index.likeness import Likeness


def features(towards: int, count: int = 400, width: int = 64) -> np.ndarray:
    """Photos that share one direction: half of each lies along an axis, half anywhere."""
    rng = np.random.default_rng(towards)
    rows = rng.normal(size=(count, width))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows[:, towards] += 1
    return rows.astype(np.float32)


def signs(rows: np.ndarray, mean: np.ndarray, bits: int) -> np.ndarray:
    planes = np.random.default_rng(9).normal(size=(rows.shape[1], bits))
    return (rows - mean) @ planes > 0


def test_moved_distances_are_the_angles_between_whole_features() -> None:
    rows = features(0)
    centre = Centre.of(rows)
    assert centre is not None
    bits, mean = 4096, rows.mean(axis=0)
    codes = signs(rows, mean, bits)
    one, others = 0, np.arange(1, 100)
    distances = (codes[one] != codes[others]).sum(axis=1)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    angles = np.arccos(unit[others] @ unit[one]) * bits / np.pi
    moved = centre.moved(distances, bits, float(centre.cosine(rows[:1])[0]))
    assert np.corrcoef(moved, angles)[0, 1] > 0.8
    assert np.abs(moved - angles).mean() < 0.02 * bits


def test_a_photo_of_something_else_is_far_although_its_bits_are_not() -> None:
    own, foreign = features(0), features(1)
    centre = Centre.of(own)
    assert centre is not None
    measure = Likeness(tuple(np.linspace(1000, 1600, 101).tolist()), (0, 4096), 400, centre)
    of_own = measure.seen_from(own[0]).of(np.array([1900]))
    of_foreign = measure.seen_from(foreign[0]).of(np.array([1900]))
    assert of_foreign[0] < of_own[0]


def test_a_listing_without_features_is_taken_for_an_average_photo() -> None:
    centre = Centre.of(features(0))
    assert centre is not None
    measure = Likeness((0.0, 4096.0), (0, 4096), 400, centre)
    assert measure.seen_from(None).moved(np.array([0]))[0] == pytest.approx(0, abs=1)
    assert measure.seen_from(np.zeros(5)) is measure, "features of another release say nothing"


def test_an_index_keeps_it() -> None:
    measure = Likeness((1.0, 2.0), (0, 64), 30, Centre.of(features(0)))
    body = measure.to_json()
    assert Likeness.from_meta({"likeness": body}) == Likeness(
        (1.0, 2.0), (0, 64), 30, Centre.from_json(body["centre"])
    )
    assert body.get("nearest") is None, "version 0.2 would take these distances as they are"


def test_features_without_a_direction_have_no_centre() -> None:
    assert Centre.of(np.zeros((5, 4), np.float32)) is None
