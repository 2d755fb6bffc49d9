"""Files that little by little is added to stay few, and little is copied to keep them so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.storage.tiers import crowded

WHOLE = 4096


@given(st.lists(st.integers(1, 300), min_size=1, max_size=600))
def test_however_often_something_is_added_files_stay_few(added: list[int]) -> None:
    files: list[int] = []
    copied = 0
    for size in added:
        files.append(size)
        while places := crowded(files, WHOLE):
            merged = sum(files[place] for place in places)
            copied += merged
            files = [size for place, size in enumerate(files) if place not in places] + [merged]
        assert len(files) <= 7 * 5 + sum(files) // WHOLE
    assert sum(files) == sum(added)
    assert copied <= 5 * sum(added), "each at most once a tier"


@pytest.mark.parametrize("count", [0, 7])
def test_few_files_stay_as_they_are(count: int) -> None:
    assert crowded([10] * count + [WHOLE] * 20, WHOLE) == []


def test_what_is_merged_takes_smaller_ones_with_it() -> None:
    assert crowded([3, 100, 1, *[90] * 7, WHOLE], WHOLE) == [0, 2, 1, *range(3, 10)]
