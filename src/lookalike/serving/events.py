"""What shoppers see and click, put down in the store without anybody waiting for it.

Enters: hits of the answers that were sampled, and the events that pages send about them. Leaves: Parquet files below
``events/`` (`quality.events` has their columns), one for each process and minute. Rows wait in memory, so many at
most; beyond that, and where the store does not take them, they are dropped and counted. Nothing here can slow or fail
a search: one thread writes, and a search only appends to a list. At the end of the process what waits is written.

Nothing is kept of who asked, and nothing of the photo: an answer has a random id, a minute, and its hits. A field
that this version does not know is refused rather than kept.
"""

from __future__ import annotations

import io
import logging
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike import strict_json
from lookalike.errors import QueryError, SettingsError
from lookalike.quality.events import ANSWER, SCHEMA, SENT
from lookalike.ranking.request import MAXIMUM_REACH, Answer, SearchRequest
from lookalike.serving.metrics import Metrics
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore

_LOG = logging.getLogger("lookalike.serving")
MAXIMUM_BODY = 256_000
MAXIMUM_EVENTS = 500
"""Events of one request: a page of two hundred hits with room."""
_ID_BYTES = 16
_ID_LENGTH = 22
_LONGEST_LISTING = 500
_LAST_WRITE_S = 10.0
"""How long the end of a process waits for its last file; a pod has 30 s in all."""
_FIELDS = {"event", "answer_id", "listing_id", "rank"}


@dataclass(frozen=True, slots=True)
class EventsConfig:
    """Whether a process keeps what shoppers see and click, of how many answers."""

    table: ClassVar[str] = "events"

    share: float = 0.0
    """Share of the answers, 0 to 1, that get an `answer_id` by which pages send events; 0: nothing is kept."""
    buffer: int = 50_000
    """Rows that wait in memory at most, some 200 bytes each; one more is dropped and counted."""
    flush_seconds: float = 60.0
    """How often they are written, as a file each time. A process that is killed loses so much."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise SettingsError(f"events.share must be 0 to 1, not {self.share}")
        if self.buffer < 1 or self.flush_seconds <= 0:
            raise SettingsError("events.buffer must be at least 1, flush_seconds above 0")


class EventLog:
    """The events of one process. `start` begins writing, `stop` writes what is left."""

    def __init__(self, store: ObjectStore, config: EventsConfig, metrics: Metrics) -> None:
        self.config, self._store, self._metrics = config, store, metrics
        self._rows: deque[Mapping[str, Any]] = deque()
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)

    def start(self) -> None:
        if self.config.share:
            self._thread.start()

    def stop(self) -> None:
        """Write what waits, for a few seconds at most; what cannot be written is counted as dropped."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_LAST_WRITE_S)
        if self._rows:
            self._drop(len(self._rows), "the process ended")

    def sampled(self) -> bool:
        """Whether the next answer is to be kept."""
        return random.random() < self.config.share

    def keep_answer(self, answer: Answer, request: SearchRequest) -> str:
        """Put down the hits of an answer that was explained; its id."""
        answer_id = secrets.token_urlsafe(_ID_BYTES)
        explained = answer.explain or {}
        self._add(
            [
                _row(
                    ANSWER,
                    answer_id,
                    hit.listing_id,
                    rank,
                    alpha=explained.get("alpha"),
                    appearance=(hit.explain or {}).get("appearance"),
                    aspects=(hit.explain or {}).get("aspects"),
                    text=bool(answer.understood),
                    release=answer.release,
                )
                for rank, hit in enumerate(answer.hits, request.offset + 1)
            ]
        )
        return answer_id

    def keep(self, body: bytes) -> int:
        """Put down the events of a request's body; how many were. Raises `QueryError` where it is none of ours."""
        rows = [_row(*event) for event in parse_events(body)]
        return self._add(rows) if self.config.share else 0

    def _add(self, rows: Sequence[Mapping[str, Any]]) -> int:
        with self._lock:
            room = max(0, self.config.buffer - len(self._rows))
            self._rows.extend(rows[:room])
            waiting = len(self._rows)
        self._metrics.events.labels("kept").inc(min(room, len(rows)))
        if len(rows) > room:
            self._drop(len(rows) - room, "the buffer is full")
        if 2 * waiting > self.config.buffer:
            self._wake.set()
        return min(room, len(rows))

    def _run(self) -> None:
        while not self._stopping:
            self._wake.wait(self.config.flush_seconds)
            self._wake.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        with self._lock:
            rows = list(self._rows)
        if not rows:
            return
        try:
            self._put(rows)
        except Exception as error:  # whatever it is, this thread goes on, and the rows wait
            _LOG.warning("%d events wait for the store: %r", len(rows), error)
            time.sleep(0 if self._stopping else 1)
            return
        with self._lock:
            for _ in rows:
                self._rows.popleft()

    def _put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(list(rows), schema=SCHEMA), sink, compression="zstd")
        now = datetime.now(UTC)
        self._store.put(keys.events(now.isoformat(timespec="seconds"), secrets.token_hex(4)), sink.getvalue())

    def _drop(self, count: int, why: str) -> None:
        self._metrics.events.labels("dropped").inc(count)
        _LOG.warning("%d events are lost: %s", count, why)


def parse_events(body: bytes) -> list[tuple[str, str, str, int]]:
    """(event, answer id, listing id, rank) of each event. Raises `QueryError` naming the first that is wrong."""
    try:
        said = strict_json.parse(body)
    except ValueError as error:
        raise QueryError(f"the body is not JSON: {error}") from error
    events = said.get("events") if isinstance(said, dict) and set(said) == {"events"} else None
    if not isinstance(events, list) or not 1 <= len(events) <= MAXIMUM_EVENTS:
        raise QueryError(f'send {{"events": [...]}} with 1 to {MAXIMUM_EVENTS} events and nothing else')
    return [_event(number, event) for number, event in enumerate(events)]


def _event(number: int, event: Any) -> tuple[str, str, str, int]:
    if not isinstance(event, dict) or set(event) != _FIELDS:
        raise QueryError(f"events[{number}]: an event has {', '.join(sorted(_FIELDS))} and nothing else")
    kind, answer_id, listing, rank = (event[name] for name in ("event", "answer_id", "listing_id", "rank"))
    if kind not in SENT:
        raise QueryError(f"events[{number}]: event is {' or '.join(SENT)}")
    if not (isinstance(answer_id, str) and len(answer_id) == _ID_LENGTH and answer_id.isascii()):
        raise QueryError(f"events[{number}]: answer_id is that of a reply")
    if not (isinstance(listing, str) and 1 <= len(listing) <= _LONGEST_LISTING):
        raise QueryError(f"events[{number}]: listing_id is a text of 1 to {_LONGEST_LISTING} characters")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= MAXIMUM_REACH:
        raise QueryError(f"events[{number}]: rank is a whole number from 1 to {MAXIMUM_REACH}")
    return kind, answer_id, listing, rank


def _row(kind: str, answer_id: str, listing_id: str, rank: int, **parts: Any) -> Mapping[str, Any]:
    minute = datetime.now(UTC).replace(second=0, microsecond=0)
    return {
        "minute": minute,
        "kind": kind,
        "answer_id": answer_id,
        "listing_id": listing_id,
        "rank": rank,
        **parts,
    }
