"""The queue between the event loop and the one thread that searches: bounded, with micro-batching.

Enters: a query with the snapshot it was decoded for. Leaves: its answer, in a future of the event loop. The searching
thread never waits for a batch to fill: it takes whatever has gathered while it was busy, so a lone query is not
delayed and a crowd shares forward passes and scans. A batch holds queries of one snapshot only, so an answer never
mixes model and index of different releases. Beyond the limit, or after its deadline, a query is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from threading import Condition, Thread

from lookalike.errors import ServiceBusy
from lookalike.ranking.request import Answer, Query
from lookalike.ranking.search import Searcher
from lookalike.serving.metrics import Metrics

_LOG = logging.getLogger("lookalike.serving")


@dataclass(slots=True)
class _Waiting:
    searcher: Searcher
    query: Query
    deadline: float
    future: asyncio.Future[Answer]
    since: float = field(default_factory=time.monotonic)


class SearchQueue:
    """Runs searches one batch at a time on a thread of its own. Call `start` on the event loop, and `stop`."""

    def __init__(self, limit: int, batch_limit: int, metrics: Metrics) -> None:
        self.limit, self.batch_limit, self.metrics = limit, batch_limit, metrics
        self._waiting: deque[_Waiting] = deque()
        self._arrived = Condition()
        self._admitted = 0
        self._stopping = False
        self._thread = Thread(target=self._run, name="search", daemon=True)

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Answer what was taken and end the thread; what comes later is refused."""
        with self._arrived:
            self._stopping = True
            self._arrived.notify()
        if self._thread.is_alive():
            self._thread.join()

    def admit(self) -> None:
        """Take one of the `limit` places, before a photo is decoded for it. Raises `ServiceBusy`."""
        if self._admitted >= self.limit:
            self.metrics.refused.labels("queue").inc()
            raise ServiceBusy(f"{self.limit} searches are waiting already; try again in a second")
        self._admitted += 1
        self.metrics.waiting.set(self._admitted)

    def leave(self) -> None:
        """Give the place back."""
        self._admitted -= 1
        self.metrics.waiting.set(self._admitted)

    async def search(self, searcher: Searcher, query: Query, deadline: float) -> Answer:
        """The answer of an admitted query. Raises `ServiceBusy` once `deadline` (monotonic seconds) has passed."""
        waiting = _Waiting(searcher, query, deadline, self._loop.create_future())
        with self._arrived:
            if self._stopping:
                raise ServiceBusy("this process is stopping")
            self._waiting.append(waiting)
            self._arrived.notify()
        return await waiting.future

    def _run(self) -> None:
        while batch := self._next_batch():
            started = time.monotonic()
            live = [w for w in batch if w.deadline > started and not w.future.cancelled()]
            late = [w for w in batch if w.deadline <= started]
            self._reply(late, self._refuse_late)
            if not live:
                continue
            self.metrics.batch_queries.observe(len(live))
            try:
                answers = live[0].searcher.search_all([w.query for w in live])
            except Exception as error:
                self._reply(live, lambda w, error=error: w.future.set_exception(error))  # type: ignore[misc]
                continue
            timed = {
                id(w): replace(a, milliseconds={"wait": (started - w.since) * 1e3, **a.milliseconds})
                for w, a in zip(live, answers, strict=True)
            }
            self._reply(live, lambda w, timed=timed: w.future.set_result(timed[id(w)]))  # type: ignore[misc]

    def _next_batch(self) -> list[_Waiting]:
        """Queries of one searcher, in order of arrival; empty when the queue has stopped."""
        with self._arrived:
            while not self._waiting and not self._stopping:
                self._arrived.wait()
            if not self._waiting:
                return []
            searcher = self._waiting[0].searcher
            batch: list[_Waiting] = []
            while self._waiting and len(batch) < self.batch_limit and self._waiting[0].searcher is searcher:
                batch.append(self._waiting.popleft())
            return batch

    def _refuse_late(self, waiting: _Waiting) -> None:
        self.metrics.refused.labels("deadline").inc()
        waiting.future.set_exception(ServiceBusy("the search waited longer than its deadline"))

    def _reply(self, batch: Sequence[_Waiting], settle: Callable[[_Waiting], None]) -> None:
        """Settle futures on the event loop, all in one call."""

        def deliver() -> None:
            for waiting in batch:
                if not waiting.future.done():
                    settle(waiting)

        if batch:
            try:
                self._loop.call_soon_threadsafe(deliver)
            except RuntimeError:  # the loop is closed: nobody waits any more
                _LOG.debug("%d answers came after the end", len(batch))
