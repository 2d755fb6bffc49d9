"""Questions to a ranker, one batch at a time: those that come while a scan runs share the next one.

A scan is bound by memory bandwidth, and queries that are scanned together share the reading (docs/hamming.md), so the
questions of several coordinators gain as much as those of one. Beyond a limit, or when nobody waits any more, a
question is refused. Used on one event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lookalike.errors import ServiceBusy
from lookalike.ranking.listings import Candidates, Wanted
from lookalike.ranking.local import MappedListings
from lookalike.serving.metrics import Metrics


@dataclass(eq=False, slots=True)
class _Waiting:
    listings: MappedListings
    wanted: Sequence[Wanted]
    until: float
    future: asyncio.Future[list[Candidates]]


class ScanQueue:
    """Scans on a thread of its own; `limit` questions may wait, `batch_limit` queries share a scan."""

    def __init__(self, limit: int, batch_limit: int, metrics: Metrics) -> None:
        self.limit, self.batch_limit, self.metrics = limit, batch_limit, metrics
        self._waiting: deque[_Waiting] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scan")
        self._running: asyncio.Task[None] | None = None

    async def nearest(
        self, listings: MappedListings, wanted: Sequence[Wanted], seconds: float
    ) -> list[Candidates]:
        """The candidates of one question's queries. Raises `ServiceBusy` when full, or where `seconds` have passed
        before it is its turn."""
        if len(self._waiting) >= self.limit:
            self.metrics.refused.labels("queue").inc()
            raise ServiceBusy(f"{self.limit} questions are waiting already; ask another ranker")
        future: asyncio.Future[list[Candidates]] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(listings, wanted, time.monotonic() + seconds, future))
        self.metrics.waiting.set(len(self._waiting))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    def stop(self) -> None:
        self._thread.shutdown()

    async def _run(self) -> None:
        try:
            while batch := self._next_batch():
                queries = [w for waiting in batch for w in waiting.wanted]
                self.metrics.batch_queries.observe(len(queries))
                loop = asyncio.get_running_loop()
                try:
                    found = await loop.run_in_executor(self._thread, batch[0].listings.nearest, queries)
                except Exception as error:
                    for waiting in batch:
                        if not waiting.future.done():
                            waiting.future.set_exception(error)
                    continue
                answers = iter(found)
                for waiting in batch:
                    mine = [next(answers) for _ in waiting.wanted]
                    if not waiting.future.done():
                        waiting.future.set_result(mine)
        finally:
            self._running = None

    def _next_batch(self) -> list[_Waiting]:
        """Questions about one shard, in order of arrival, without those that nobody waits for any more."""
        batch: list[_Waiting] = []
        queries = 0
        while self._waiting:
            first = self._waiting[0]
            if batch and (
                first.listings is not batch[0].listings or queries + len(first.wanted) > self.batch_limit
            ):
                break
            self._waiting.popleft()
            if first.until <= time.monotonic() and not first.future.done():
                self.metrics.refused.labels("deadline").inc()
                first.future.set_exception(ServiceBusy("the question waited longer than its deadline"))
            elif not first.future.done():
                batch.append(first)
                queries += len(first.wanted)
        self.metrics.waiting.set(len(self._waiting))
        return batch
