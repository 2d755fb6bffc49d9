"""What shoppers click, by place in the answer, of a day or a month: a small table beside the pictures.

Enters: the files of events in the store (`quality.events`), the newest first, as many as a page can wait for. Leaves:
JSON. Everything here blocks; the application calls it on a thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from lookalike.ahead import ahead
from lookalike.console.trends import SPANS
from lookalike.errors import CorruptObject, ObjectNotFound
from lookalike.quality.events import SCHEMA, read_file, summary
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore

_LOG = logging.getLogger("lookalike.console")
BELIEVED_S = 600
"""Seconds for which a table is believed."""
_MOST_FILES = 3000
"""A process writes one a minute at most: two days of one."""
_MOST_ROWS = 300_000
_RANKS = 10
"""Places that are shown."""
_READERS = 8


class Clicks:
    """Reads what one store says of clicks. Safe to call from several threads."""

    def __init__(self, store: ObjectStore, *, clock: Callable[[], float] = time.time) -> None:
        self._store, self._clock = store, clock
        self._known: dict[str, tuple[float, dict[str, Any]]] = {}
        self._lock = threading.Lock()

    def of(self, span: str) -> dict[str, Any]:
        """Click-through of `span`, one of `SPANS`, at most ten minutes old. Raises `StorageError`.

        `ranks` is empty where there are no events. `since` says how far back was read, `whole` whether that is all of
        the span, `damaged` how many files could not be read.
        """
        with self._lock:
            now = self._clock()
            if span not in self._known or now - self._known[span][0] > BELIEVED_S:
                self._known[span] = now, self._read(span, now)
            return self._known[span][1]

    def _read(self, span: str, now: float) -> dict[str, Any]:
        begin = datetime.fromtimestamp(now - SPANS[span][0], UTC)
        wanted = self._newest(begin, datetime.fromtimestamp(now, UTC))
        tables, rows, seen = list[pa.Table](), 0, 0
        files = ahead(self._file, wanted[:_MOST_FILES], threads=_READERS, depth=4 * _READERS, name="clicks")
        for table in files:
            seen += 1
            if table is not None:
                tables.append(table)
                rows += len(table)
            if rows >= _MOST_ROWS:
                break
        files.close()
        found, whole = summary(tables), seen == len(wanted)
        since = begin if whole or not rows else min(tables[-1]["minute"].to_pylist(), default=begin)
        return {
            "span": span,
            "answers": found["answers_seen"],
            "all": found["all"],
            "ranks": [
                {"rank": int(rank), **rate} for rank, rate in found["by_rank"].items() if int(rank) <= _RANKS
            ],
            "since": since.isoformat(timespec="minutes"),
            "whole": whole,
            "damaged": seen - len(tables),
        }

    def _newest(self, begin: datetime, end: datetime) -> list[str]:
        """Keys of the files that were written since `begin`, the newest first; all, or more than are read."""
        found: list[str] = []
        day, first = end.date(), f"{keys.EVENTS}{begin:%Y-%m-%d/%H%M%S}"
        while day >= begin.date() and len(found) <= _MOST_FILES:
            written = (info.key for info in self._store.list(f"{keys.EVENTS}{day.isoformat()}/"))
            found += sorted((key for key in written if key >= first), reverse=True)
            day -= timedelta(days=1)
        return found

    def _file(self, key: str) -> pa.Table | None:
        """None where it cannot be read."""
        try:
            return read_file(self._store, key)
        except ObjectNotFound:  # a rule of the bucket has removed it meanwhile
            return SCHEMA.empty_table()
        except CorruptObject as error:
            _LOG.warning("%s", error)
            return None
