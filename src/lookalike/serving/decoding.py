"""Memory for decoding: photos of strangers may be as large as the limits allow, and a crowd of them comes at once.

Enters: what decoding a photo takes by its header. Leaves: its turn. All threads share one budget, that of the largest
photo which is accepted: a burst of huge photos is decoded one by one, and photos of usual size, of which dozens fit, do
not wait.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from lookalike.errors import ServiceBusy
from lookalike.serving.metrics import Metrics


class DecodingBudget:
    """Bytes that decoding may take at one time, all threads together."""

    def __init__(self, limit: int, metrics: Metrics) -> None:
        self.limit, self.metrics = limit, metrics
        self._used = 0
        self._freed = Condition()

    @contextmanager
    def hold(self, size: int, deadline: float) -> Iterator[None]:
        """Hold `size` bytes, at most `limit`, as soon as they are free; a smaller photo may go ahead.

        Raises `ServiceBusy` where they are not by `deadline` (monotonic seconds).
        """
        with self._freed:
            left = deadline - time.monotonic()
            if not self._freed.wait_for(lambda: self._used + size <= self.limit, left):
                self.metrics.refused.labels("deadline").inc()
                raise ServiceBusy("too many large photos are being decoded; try again in a second")
            self._used += size
        try:
            yield
        finally:
            with self._freed:
                self._used -= size
                self._freed.notify_all()
