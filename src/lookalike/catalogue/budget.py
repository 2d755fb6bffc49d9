"""A budget of memory that threads share: each takes what its work will need, and waits while others have too much."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition


class Budget:
    """So many bytes. Work that needs more than all of them is done alone."""

    def __init__(self, limit: int) -> None:
        self._limit, self._used = limit, 0
        self._freed = Condition()

    @contextmanager
    def taken(self, size: int) -> Iterator[None]:
        """Hold `size` bytes, once they are free."""
        own = min(size, self._limit)
        with self._freed:
            self._freed.wait_for(lambda: self._used + own <= self._limit)
            self._used += own
        try:
            yield
        finally:
            with self._freed:
                self._used -= own
                self._freed.notify_all()
