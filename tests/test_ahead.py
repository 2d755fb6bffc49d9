"""Work ahead: in order, bounded, its errors where its results would have been."""

from __future__ import annotations

import threading

import pytest

from lookalike.ahead import ahead


def test_results_come_in_order_however_long_each_takes() -> None:
    second_done = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second_done.wait(10)
        if number == 1:
            second_done.set()
        return number * number

    assert list(ahead(work, range(6), threads=2, depth=3)) == [0, 1, 4, 9, 16, 25]


def test_an_error_is_raised_where_its_result_would_have_been() -> None:
    results = ahead(lambda number: 6 // (3 - number), range(6), threads=1, depth=4)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_no_more_than_the_depth_is_taken_ahead_and_nothing_after_the_taker_stops() -> None:
    taken: list[int] = []

    def items() -> object:
        for number in range(100):
            taken.append(number)
            yield number

    results = ahead(lambda number: number, items(), threads=2, depth=3)  # type: ignore[arg-type]
    assert next(results) == 0
    assert len(taken) == 4
    results.close()
    assert len(taken) == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]
