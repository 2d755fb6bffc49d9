"""The queue between the event loop and the threads that search: bounded, with micro-batching.

Enters: a photo still to be decoded, with the snapshot it is for. Leaves: its answer, in a future of the event loop.
A photo waits for its turn to be decoded before it takes a thread (`decoding`), so heavy ones hold up no others.
The thread that decoded a photo searches for it too, unless one is searching already; that one never waits for a batch
to fill, it takes whatever has gathered while it was busy. So a lone query is handed over to nobody, and a crowd shares
forward passes and scans. A batch holds queries of one snapshot only, so an answer never mixes model and index of
different releases. Beyond the limit, or after its deadline, a query is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Lock

from lookalike.errors import ServiceBusy
from lookalike.ranking.request import Answer, Query
from lookalike.ranking.search import Searcher
from lookalike.serving.decoding import DecodingTurns, Effort, Turn, yield_to_others
from lookalike.serving.metrics import Metrics

_LOG = logging.getLogger("lookalike.serving")


@dataclass(slots=True)
class _Waiting:
    searcher: Searcher
    prepare: Callable[[], Query]
    deadline: float
    future: asyncio.Future[Answer]
    since: float = field(default_factory=time.monotonic)
    turn: Turn | None = None
    """Its right to be decoded, where there is something to decode."""
    ready: float = 0.0

    @property
    def milliseconds(self) -> dict[str, float]:
        """Until now: the time until the query was decoded, and since then."""
        return {"decode": (self.ready - self.since) * 1e3, "wait": (time.monotonic() - self.ready) * 1e3}


_Outcome = tuple[_Waiting, Answer | Exception]


class SearchQueue:
    """Runs searches, a batch at a time. Call `start` on the event loop, and `stop`."""

    def __init__(
        self,
        limit: int,
        batch_limit: int,
        metrics: Metrics,
        decoding: DecodingTurns,
        *,
        decoders: int = 1,
        searchers: int = 1,
    ) -> None:
        """`decoders` threads decode photos while `searchers` others search; more than one of these pays where a search
        waits for others."""
        self.limit, self.batch_limit, self.metrics, self.searchers = limit, batch_limit, metrics, searchers
        self.decoding = decoding
        self._threads = ThreadPoolExecutor(decoders + searchers, thread_name_prefix="search")
        self._heavy = ThreadPoolExecutor(1, thread_name_prefix="heavy", initializer=yield_to_others)
        self._lock = Lock()
        """Held while any of the following is changed from a thread."""
        self._waiting: deque[tuple[_Waiting, Query]] = deque()
        self._searching = 0
        self._admitted = 0
        self._closed = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Answer what was taken and end the threads; what comes later is refused."""
        with self._lock:
            self._closed = True
        self._heavy.shutdown()
        self._threads.shutdown()

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

    async def search(
        self, searcher: Searcher, prepare: Callable[[], Query], deadline: float, effort: Effort | None = None
    ) -> Answer:
        """The answer of an admitted query, which `prepare` makes on another thread; `effort` is that of decoding.

        Raises what `prepare` raises, and `ServiceBusy` once `deadline` (monotonic seconds) has passed.
        """
        waiting = _Waiting(searcher, prepare, deadline, self._loop.create_future())
        if effort is not None:
            waiting.turn = await self.decoding.take(effort, deadline)
        with self._lock:
            if not self._closed and effort is not None and effort.heavy:
                self._heavy.submit(self._prepare_heavy, waiting)
            elif not self._closed:
                self._threads.submit(self._prepare, waiting)
            elif waiting.turn is not None:
                waiting.turn.end()
            if self._closed:
                raise ServiceBusy("this process is stopping")
        return await waiting.future

    def _prepare(self, waiting: _Waiting) -> None:
        query = self._decode(waiting)
        if query is not None:
            self._take(waiting, query)

    def _prepare_heavy(self, waiting: _Waiting) -> None:
        """The same on the thread that yields to others, which shall not search."""
        query = self._decode(waiting)
        if query is not None:
            self._threads.submit(self._take, waiting, query)

    def _decode(self, waiting: _Waiting) -> Query | None:
        """The query of one photo that is not late yet."""
        try:
            if waiting.future.cancelled():
                return None
            if waiting.deadline <= time.monotonic():
                self._refuse_late([waiting])
                return None
            query = waiting.prepare()
        except Exception as error:
            self._deliver([(waiting, error)])
            return None
        finally:
            if waiting.turn is not None:
                waiting.turn.end()
        waiting.ready = time.monotonic()
        return query

    def _take(self, waiting: _Waiting, query: Query) -> None:
        """Search for a query unless enough threads search: one of these takes it along next."""
        with self._lock:
            self._waiting.append((waiting, query))
            if self._searching == self.searchers:
                return
            self._searching += 1
        try:
            while batch := self._next_batch():
                self._search(batch)
        except BaseException:
            with self._lock:
                self._searching -= 1
            raise

    def _next_batch(self) -> list[tuple[_Waiting, Query]]:
        """Queries of one searcher, in order of arrival. Where there are none, this thread searches no more."""
        with self._lock:
            if not self._waiting:
                self._searching -= 1
                return []
            searcher = self._waiting[0][0].searcher
            batch: list[tuple[_Waiting, Query]] = []
            while (
                self._waiting and len(batch) < self.batch_limit and self._waiting[0][0].searcher is searcher
            ):
                batch.append(self._waiting.popleft())
            return batch

    def _search(self, batch: Sequence[tuple[_Waiting, Query]]) -> None:
        started = time.monotonic()
        late = [w for w, _ in batch if w.deadline <= started]
        if late:
            self._refuse_late(late)
        live = [(w, q) for w, q in batch if w.deadline > started and not w.future.cancelled()]
        if live:
            self._deliver(self._outcomes([w for w, _ in live], [q for _, q in live]))

    def _refuse_late(self, late: Sequence[_Waiting]) -> None:
        self.metrics.refused.labels("deadline").inc(len(late))
        reason = "the search waited longer than its deadline"
        self._deliver([(w, ServiceBusy(reason)) for w in late])

    def _outcomes(self, waiting: Sequence[_Waiting], queries: Sequence[Query]) -> list[_Outcome]:
        self.metrics.batch_queries.observe(len(queries))
        before = [w.milliseconds for w in waiting]
        try:
            answers = waiting[0].searcher.search_all(queries)
        except Exception as error:
            return [(w, error) for w in waiting]
        return [
            (w, replace(answer, milliseconds={**times, **answer.milliseconds}))
            for w, times, answer in zip(waiting, before, answers, strict=True)
        ]

    def _deliver(self, outcomes: Sequence[_Outcome]) -> None:
        """Settle futures on the event loop, all in one call."""

        def settle() -> None:
            for waiting, outcome in outcomes:
                if waiting.future.done():
                    continue
                if isinstance(outcome, Answer):
                    waiting.future.set_result(outcome)
                else:
                    waiting.future.set_exception(outcome)

        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _LOG.debug("%d answers came after the end", len(outcomes))
