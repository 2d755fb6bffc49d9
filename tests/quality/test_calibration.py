"""Temperature scaling: likelier, never another order."""

from __future__ import annotations

import numpy as np
import pytest

from lookalike.quality.calibration import fit_temperature, negative_log_likelihood


def drawn(temperature: float, n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose softmax at `temperature` is what the labels are drawn from."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=(n, 6))
    labels = (logits / temperature + rng.gumbel(size=logits.shape)).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    assert fit_temperature(*drawn(temperature)) == pytest.approx(temperature, rel=0.08)


def test_no_other_temperature_is_likelier() -> None:
    logits, labels = drawn(1.7, n=300)
    best = fit_temperature(logits, labels)
    found = negative_log_likelihood(logits, labels, best)
    assert all(found <= negative_log_likelihood(logits, labels, best * f) + 1e-9 for f in (0.5, 0.9, 1.1, 2))


def test_likelihood_of_equal_logits_is_that_of_chance() -> None:
    assert negative_log_likelihood(np.zeros((3, 8)), np.array([0, 3, 7])) == pytest.approx(np.log(8))


def test_perfect_and_missing_data_stay_within_bounds() -> None:
    certain = np.eye(4) * 50
    assert 0.05 <= fit_temperature(certain, np.arange(4)) <= 20
    assert fit_temperature(np.zeros((0, 4)), np.zeros(0, np.int64)) == 1.0
