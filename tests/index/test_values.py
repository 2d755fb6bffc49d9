"""Values read off a column's buffers are those that Arrow gives."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from lookalike.index.values import values_at

RNG = np.random.default_rng(4)
TEXTS = ["", "a", "Größe", "日本", "x" * 300]


def _columns(nulls: float) -> list[pa.Array]:
    missing = RNG.random(200) < nulls
    texts = pa.array(RNG.choice(TEXTS, 200).tolist(), pa.utf8(), mask=missing)
    return [texts, texts.dictionary_encode(), pa.array(RNG.random(200), mask=missing)]


@pytest.mark.parametrize("nulls", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("cut", [(0, 200), (13, 150)])
def test_they_are_what_a_take_gives(nulls: float, cut: tuple[int, int]) -> None:
    for column in _columns(nulls):
        some = column.slice(*cut)
        for rows in (RNG.integers(0, len(some), 40), np.empty(0, np.int64), np.arange(len(some))):
            assert values_at(some, rows) == some.take(pa.array(rows)).to_pylist()
