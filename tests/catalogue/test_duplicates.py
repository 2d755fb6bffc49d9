"""Near duplicates as groups."""

from __future__ import annotations

import numpy as np

from lookalike.catalogue.duplicates import components


def test_components_are_named_by_their_smallest_node() -> None:
    pairs = np.array([[4, 2], [2, 3], [0, 5]])
    assert components(7, pairs).tolist() == [0, 1, 2, 2, 2, 0, 6]
    assert components(3, np.zeros((0, 2), np.int64)).tolist() == [0, 1, 2]
