"""The queue between the event loop and the threads that search: bounded, with micro-batching.

Enters: a photo still to be decoded, with the snapshot it is for. Leaves: its answer, in a future of the event loop.
A photo waits for its turn to be decoded before it takes a thread (`decoding`), so heavy ones hold up no others.
The thread that decoded a photo searches for it too, unless one is searching already; that one never waits for a batch
to fill, it takes what has gathered while it was busy (`lanes`). So a lone query is handed over to nobody, and a crowd
shares forward passes and scans. A batch holds queries of one snapshot only, so an answer never mixes model and index of
different releases. Parts of a cluttered photo are work of their own: nobody else waits for them. Beyond the limit, or
after its deadline, a query is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from threading import Lock

from lookalike.errors import ServiceBusy
from lookalike.ranking.finding import Part, best_of
from lookalike.ranking.request import Answer, Query
from lookalike.ranking.search import Searcher
from lookalike.serving.decoding import DecodingTurns, Effort, Turn, yield_to_others
from lookalike.serving.lanes import Kind, Lanes
from lookalike.serving.metrics import Metrics

_LOG = logging.getLogger("lookalike.serving")


@dataclass(slots=True, eq=False)
class _Waiting:
    searcher: Searcher
    prepare: Callable[[], Query]
    deadline: float
    client: str
    future: asyncio.Future[Answer]
    since: float = field(default_factory=time.monotonic)
    turn: Turn | None = None
    """Its right to be decoded, where there is something to decode."""
    decoded: float = 0.0
    """Seconds until the query was decoded."""
    waited: float = 0.0
    """Seconds in lanes."""

    @property
    def late(self) -> bool:
        return self.deadline <= time.monotonic()


@dataclass(slots=True, eq=False)
class _Work:
    """One search's query, or the parts of its photo."""

    kind: Kind
    waiting: _Waiting
    queries: Sequence[Query]
    parts: Sequence[Part] = ()
    whole: Answer | None = None
    """The answer to the photo whose parts these are."""
    since: float = field(default_factory=time.monotonic)

    @property
    def client(self) -> str:
        return self.waiting.client

    @property
    def searcher(self) -> Searcher:
        return self.waiting.searcher

    @property
    def size(self) -> int:
        return len(self.queries)


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
        pass_seconds: float = 0.05,
        decoders: int = 1,
        searchers: int = 1,
    ) -> None:
        """`decoders` threads decode photos while `searchers` others search; more than one of these pays where a search
        waits for others. A forward pass takes some `pass_seconds` at most, and one photo at least."""
        self.limit, self.batch_limit, self.metrics, self.searchers = limit, batch_limit, metrics, searchers
        self.decoding, self.pass_seconds = decoding, pass_seconds
        self._threads = ThreadPoolExecutor(decoders + searchers, thread_name_prefix="search")
        self._heavy = ThreadPoolExecutor(1, thread_name_prefix="heavy", initializer=yield_to_others)
        self._lock = Lock()
        """Held while any of the following is changed from a thread."""
        self._lanes: Lanes[_Work] = Lanes()
        self._photo_seconds = 0.0
        """What a photo took of the last forward passes."""
        self._searching = 0
        self._admitted: Counter[str] = Counter()
        """Places by client, together at most twice the limit."""
        self._closed = False

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """Answer what was taken and end the threads; what comes later is refused."""
        with self._lock:
            self._closed = True
        self._heavy.shutdown()
        self._threads.shutdown()

    def admit(self, client: str = "") -> None:
        """Take a place, before a photo is decoded. Raises `ServiceBusy` where `limit` are taken, and by this client as
        many as it could have if all clients had the same: so the crowd of one shuts nobody else out."""
        clients = len(self._admitted) + (client not in self._admitted)
        taken, fair = self._admitted.total(), self.limit // clients
        if taken >= 2 * self.limit or (taken >= self.limit and self._admitted[client] >= fair):
            self.metrics.refused.labels("queue").inc()
            raise ServiceBusy(f"{self.limit} searches are waiting already; try again in a second")
        self._admitted[client] += 1
        self.metrics.waiting.set(self._admitted.total())

    def leave(self, client: str = "") -> None:
        """Give the place back."""
        self._admitted[client] -= 1
        if not self._admitted[client]:
            del self._admitted[client]
        self.metrics.waiting.set(self._admitted.total())

    async def search(
        self,
        searcher: Searcher,
        prepare: Callable[[], Query],
        deadline: float,
        effort: Effort | None = None,
        *,
        client: str = "",
    ) -> Answer:
        """The answer of an admitted query, which `prepare` makes on another thread; `effort` is that of decoding.

        Clients take turns. Raises what `prepare` raises, and `ServiceBusy` once `deadline` (monotonic seconds) has
        passed.
        """
        waiting = _Waiting(searcher, prepare, deadline, client, self._loop.create_future())
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
        work = self._decode(waiting)
        if work is not None:
            self._take(work)

    def _prepare_heavy(self, waiting: _Waiting) -> None:
        """The same on the thread that yields to others, which shall not search."""
        work = self._decode(waiting)
        if work is not None:
            self._threads.submit(self._take, work)

    def _decode(self, waiting: _Waiting) -> _Work | None:
        """The query of one photo that is not late yet."""
        try:
            if waiting.future.cancelled():
                return None
            if waiting.late:
                self._refuse_late([waiting])
                return None
            query = waiting.prepare()
        except Exception as error:
            self._deliver([(waiting, error)])
            return None
        finally:
            if waiting.turn is not None:
                waiting.turn.end()
        waiting.decoded = time.monotonic() - waiting.since
        return _Work(Kind.QUICK if query.photo is None else Kind.WHOLE, waiting, [query])

    def _take(self, work: _Work) -> None:
        """Search for a query unless enough threads search: one of these takes it along next."""
        with self._lock:
            self._lanes.add(work)
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

    def _next_batch(self) -> list[_Work]:
        """What is searched together next. Where there is nothing, this thread searches no more."""
        with self._lock:
            photos = self.batch_limit
            if self._photo_seconds:
                photos = min(photos, max(1, int(self.pass_seconds / self._photo_seconds)))
            limits = {Kind.QUICK: self.batch_limit, Kind.WHOLE: photos, Kind.PARTS: photos}
            batch = self._lanes.next_batch(limits)
            self._searching -= not batch
            return batch

    def _search(self, batch: Sequence[_Work]) -> None:
        live = [work for work in batch if not work.waiting.future.cancelled()]
        late = [work for work in live if work.waiting.late]
        self._refuse_late([work.waiting for work in late if work.whole is None])
        self._deliver([self._timed(work.waiting, work.whole) for work in late if work.whole is not None])
        live = [work for work in live if work not in late]
        if live:
            self._deliver(self._outcomes(live))

    def _refuse_late(self, late: Sequence[_Waiting]) -> None:
        if not late:
            return
        self.metrics.refused.labels("deadline").inc(len(late))
        reason = "the search waited longer than its deadline"
        self._deliver([(w, ServiceBusy(reason)) for w in late])

    def _outcomes(self, batch: Sequence[_Work]) -> list[_Outcome]:
        """What there is to say now. Photos whose parts are searched for as well are answered after these."""
        started = time.monotonic()
        for work in batch:
            work.waiting.waited += started - work.since
        queries = [query for work in batch for query in work.queries]
        self.metrics.batch_queries.observe(len(queries))
        try:
            answers = batch[0].searcher.first_look(queries)
        except Exception as error:
            return [(work.waiting, error) for work in batch]
        took = (time.monotonic() - started) * 1e3
        if (encoding := answers[0].milliseconds.get("encode")) is not None:
            self._photo_seconds = encoding / 1e3 / len(queries)
        found = iter(answers)
        return [
            outcome
            for work in batch
            if (outcome := self._outcome(work, list(islice(found, work.size)), took)) is not None
        ]

    def _outcome(self, work: _Work, answers: Sequence[Answer], took: float) -> _Outcome | None:
        """The answer of one search; None where parts of its photo are searched first."""
        answer = answers[0]
        if work.whole is not None:
            answer = best_of(work.whole, work.parts, answers, took)
        elif answer.cluttered:
            with self._lock:
                if not self._closed:
                    self._threads.submit(self._look_closer, work, answer)
                    return None
            self._look_closer(work, answer)
            return None
        return self._timed(work.waiting, answer)

    def _look_closer(self, work: _Work, whole: Answer) -> None:
        """Decode the parts of a cluttered photo and search for them; where there are none, that was its answer."""
        try:
            parts = work.searcher.parts_of(work.queries[0], whole)
        except Exception as error:
            self._deliver([(work.waiting, error)])
            return
        if parts:
            self._take(_Work(Kind.PARTS, work.waiting, [part.query for part in parts], parts, whole))
        else:
            self._deliver([self._timed(work.waiting, whole)])

    def _timed(self, waiting: _Waiting, answer: Answer) -> _Outcome:
        times = {"decode": waiting.decoded * 1e3, "wait": waiting.waited * 1e3}
        return waiting, replace(answer, milliseconds={**times, **answer.milliseconds})

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

        if not outcomes:
            return
        try:
            self._loop.call_soon_threadsafe(settle)
        except RuntimeError:  # the loop is closed: nobody waits any more
            _LOG.debug("%d answers came after the end", len(outcomes))
