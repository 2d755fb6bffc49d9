"""Whose photo is decoded next: strangers send photos as large as the limits allow, and a crowd of them comes at once.

Enters: what decoding a photo will take, by its header. Leaves: its turn, for which a request waits before it takes a
thread. Ordinary photos share a budget of memory. Heavy ones, which take long, have their turns one at a time, on a
thread of low priority, so that ordinary photos overtake however many heavy ones wait.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field

from lookalike.errors import ServiceBusy
from lookalike.serving.metrics import Metrics

HEAVY_BYTES = 64_000_000
"""Memory beyond which a photo is heavy: a WebP of 3.5 megapixels, a PNG of 7, a JPEG of 16 with a small box."""
_HEAVY_PIXELS = 16_000_000
"""Pixels beyond which it is: a JPEG of 12 takes 60 ms however small it is decoded, one of 50 takes 300."""
_HEAVY_FILE = 8_000_000
"""Bytes of the file beyond which it is: as large a JPEG takes 150 ms."""


@dataclass(frozen=True, slots=True)
class Effort:
    """What decoding a photo takes."""

    file_bytes: int
    pixels: int
    decoding_bytes: int
    """Memory, at most."""

    @property
    def heavy(self) -> bool:
        """Whether it would hold up photos of usual size."""
        return (
            self.decoding_bytes > HEAVY_BYTES or self.pixels > _HEAVY_PIXELS or self.file_bytes > _HEAVY_FILE
        )


@dataclass(slots=True)
class _Lane:
    """Turns in order of arrival, as many at a time as `limit` has room for. Used on the event loop."""

    limit: int
    places: int
    """How many may wait."""
    used: int = 0
    waiting: deque[tuple[int, asyncio.Future[None]]] = field(default_factory=deque)

    def admit(self) -> None:
        """Begin the turns there is room for."""
        while self.waiting and self.used + self.waiting[0][0] <= self.limit:
            size, begun = self.waiting.popleft()
            if not begun.done():
                self.used += size
                begun.set_result(None)

    def free(self, size: int) -> None:
        self.used -= size
        self.admit()


@dataclass(slots=True)
class Turn:
    """The right to decode one photo now, until `end`, which any thread may call and more than once."""

    lane: _Lane
    size: int
    loop: asyncio.AbstractEventLoop
    ended: bool = False

    def end(self) -> None:
        """Let the next one begin."""
        if self.ended:
            return
        self.ended = True
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.lane.free, self.size)


def yield_to_others() -> None:
    """Let this thread run when others of the process leave a core free, and for a third of the time where none do.

    On Linux priorities are those of threads. Encode and scan wait for the slowest of their threads, so a decoder that
    shares a core with one of them costs every search several times its own time.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 5)


class DecodingTurns:
    """Gives photos their turns. Used on the event loop."""

    def __init__(self, ordinary_bytes: int, heavy_places: int, metrics: Metrics) -> None:
        """Ordinary photos take `ordinary_bytes` of memory at most, all together; `heavy_places` heavy ones may wait."""
        self.metrics = metrics
        self.ordinary = _Lane(max(ordinary_bytes, HEAVY_BYTES), places=1_000_000)
        self.heavy = _Lane(1, heavy_places)

    async def take(self, effort: Effort, deadline: float) -> Turn:
        """Wait for a turn.

        Raises `ServiceBusy` where it does not come by `deadline` (monotonic seconds), or too many heavy photos wait.
        """
        lane, size = (self.heavy, 1) if effort.heavy else (self.ordinary, effort.decoding_bytes)
        if len(lane.waiting) >= lane.places:
            raise self._refusal("heavy")
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        place = (size, begun)
        lane.waiting.append(place)
        lane.admit()
        try:
            async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                await begun
        except BaseException as error:
            if begun.done() and not begun.cancelled():
                lane.free(size)
            elif place in lane.waiting:
                lane.waiting.remove(place)
                lane.admit()
            if isinstance(error, TimeoutError):
                raise self._refusal("deadline") from error
            raise
        return Turn(lane, size, begun.get_loop())

    def _refusal(self, reason: str) -> ServiceBusy:
        self.metrics.refused.labels(reason).inc()
        return ServiceBusy(
            "too many large photos are being decoded; try again in a second, or send a smaller one"
        )
