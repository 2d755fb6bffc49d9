"""How often a client may ask: a token bucket for each, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

_REMEMBERED = 10_000
"""Clients whose rate is kept, the least recent ones dropped: 2 MB."""


class Rate:
    """So many requests a second of each client, and a burst before that (a token bucket). For one thread."""

    def __init__(self, per_second: float, burst: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, burst, clock
        self._clients: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def spent(self, client: str) -> bool:
        """Whether this client may not ask now; takes nothing."""
        if not self._per_second or client not in self._clients:
            return False
        left, at = self._clients[client]
        return left + (self._clock() - at) * self._per_second < 1

    def wait(self, client: str, requests: int = 1) -> float:
        """Seconds until this client may ask so many times; 0 takes them from what it has left. More than the burst at
        once leave it in debt."""
        if not self._per_second:
            return 0.0
        now = self._clock()
        left, at = self._clients.pop(client, (float(self._burst), now))
        left = min(self._burst, left + (now - at) * self._per_second)
        needed = min(requests, self._burst)
        wait = 0.0 if left >= needed else (needed - left) / self._per_second
        self._clients[client] = (left if wait else left - requests), now
        if len(self._clients) > _REMEMBERED:
            self._clients.popitem(last=False)
        return wait
