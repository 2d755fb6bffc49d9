"""What searches came and how they went, counted in intervals of five minutes and kept in the store for a month.

Enters: each search's status, time and answer. Leaves: rows of counts, written by each search process into one small
Parquet file a day (`traffic/<day>/<process>.parquet`, at most 288 rows), which the console reads. No query, photo,
listing or address is kept. Prometheus stays the full record; this is for a shop without one.

Where the store does not take it, it is said once and searches go on.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import socket
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lookalike.errors import AccessDenied, CorruptObject, StorageError
from lookalike.storage import keys
from lookalike.storage.objects import ObjectInfo, ObjectStore

_LOG = logging.getLogger("lookalike.traffic")
INTERVAL_S = 300
"""Seconds of one row."""
KEPT_DAYS = 31
BOUNDS_MS = (5, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 1000, 2000, 5000)
"""Upper ends of the classes of time, in ms; one more class holds what took longer."""
UNSURE = 0.5
"""A photo whose likeliest category is less probable counts as unsure."""
_CATEGORIES = 20
_MOST_ROWS = 2 * 86_400 // INTERVAL_S
_MOST_FILES = 2000
_SCHEMA = pa.schema(
    [
        ("at", pa.int64()),  # Unix seconds, the interval's begin
        ("searches", pa.int32()),
        ("errors", pa.int32()),  # 5xx but 503
        ("refused", pa.int32()),  # 429 and 503
        ("empty", pa.int32()),  # no hits
        ("unalike", pa.int32()),  # nothing looks like the query
        ("photos", pa.int32()),  # whose query was a photo
        ("unsure", pa.int32()),  # of these
        ("times", pa.list_(pa.int32())),  # searches by class of time
        ("likeness", pa.float64()),  # summed over the searches that have one
        ("measured", pa.int32()),  # how many those are
        ("categories", pa.list_(pa.utf8())),  # the likeliest of each query, the commonest
        ("counts", pa.list_(pa.int32())),
    ]
)


@dataclass(slots=True)
class Interval:
    """The searches of one interval, of one process or of several."""

    at: int
    searches: int = 0
    errors: int = 0
    refused: int = 0
    empty: int = 0
    unalike: int = 0
    photos: int = 0
    unsure: int = 0
    likeness: float = 0.0
    measured: int = 0
    times: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    categories: Counter[str] = field(default_factory=Counter)

    def add(self, other: Interval) -> None:
        """Count another's searches, too."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.times = [mine + more for mine, more in zip(self.times, other.times, strict=True)]
        self.categories.update(other.categories)

    def quantile(self, share: float) -> float | None:
        """Milliseconds within which this share of the searches was answered, as if those of a class of time were spread
        evenly over it; None without any."""
        wanted, passed = share * sum(self.times), 0
        if not wanted:
            return None
        ends = (0, *BOUNDS_MS, 2 * BOUNDS_MS[-1])
        for lower, upper, count in zip(ends, ends[1:], self.times, strict=False):
            if count and passed + count >= wanted:
                return lower + (upper - lower) * (wanted - passed) / count
            passed += count
        return float(ends[-1])

    def to_row(self) -> dict[str, Any]:
        commonest = self.categories.most_common(_CATEGORIES)
        return {name: getattr(self, name) for name in ("at", *_COUNTS, "times")} | {
            "categories": [name for name, _ in commonest],
            "counts": [count for _, count in commonest],
        }


_COUNTS = (
    "searches", "errors", "refused", "empty", "unalike", "photos", "unsure", "likeness", "measured",
)  # fmt: skip


class TrafficLog:
    """Counts the searches of this process, and writes them. Safe to use from several threads."""

    def __init__(self, store: ObjectStore, process: str, *, clock: Callable[[], float] = time.time) -> None:
        """`process` names the file: a name that no other process has."""
        self._store, self._process, self._clock = store, process, clock
        self._rows: dict[int, Interval] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)
        self._changed = self._warned = False
        self._tidied = ""

    def start(self) -> None:
        """Write every interval, until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Write what was counted, and end."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.write()

    def answered(self, status: int, seconds: float) -> None:
        """One search was answered with this HTTP status."""
        with self._lock:
            row = self._row()
            row.searches += 1
            row.refused += status in (429, 503)
            row.errors += status >= 500 and status != 503
            if status == 200:
                row.times[bisect_left(BOUNDS_MS, seconds * 1e3)] += 1

    def found(self, answer: Mapping[str, Any], *, photo: bool) -> None:
        """The answer to one search, as the API has it; `photo`: it was to a photo."""
        likeliest = answer["categories"][0] if answer["categories"] else None
        with self._lock:
            row = self._row()
            row.empty += not answer["hits"]
            row.unalike += bool(answer["nothing_alike"])
            if likeliest is not None:
                row.categories[likeliest["category"]] += 1
            if photo:
                row.photos += 1
                row.unsure += likeliest is not None and likeliest["probability"] < UNSURE
            if answer["likeness"] is not None:
                row.likeness += answer["likeness"]
                row.measured += 1

    def write(self) -> None:
        """Write the days that have changed; what cannot be written is kept for the next time, for two days at most."""
        with self._lock:
            if not self._changed:
                return
            self._changed = False
            rows = [row.to_row() for _, row in sorted(self._rows.items())]
        days: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            days.setdefault(_day(row["at"]), []).append(row)
        try:
            for day, of_day in days.items():
                self._store.put(keys.traffic(day, self._process), _parquet(of_day))
            self._tidy(max(days))
        except StorageError as error:
            with self._lock:
                self._changed = True
            if not self._warned:
                self._warned = True
                _LOG.warning("what searches came is not kept, since the store does not take it: %s", error)
            return
        with self._lock:
            for at in [at for at in self._rows if _day(at) != _day(int(self._clock()))]:
                del self._rows[at]

    def _run(self) -> None:
        while not self._stop.wait(INTERVAL_S):
            self.write()

    def _row(self) -> Interval:
        at = int(self._clock()) // INTERVAL_S * INTERVAL_S
        self._changed = True
        if at not in self._rows:
            self._rows[at] = Interval(at)
            while len(self._rows) > _MOST_ROWS:
                del self._rows[min(self._rows)]
        return self._rows[at]

    def _tidy(self, today: str) -> None:
        """Once a day, remove what is older than a month, of whichever process. A process that may
        not delete leaves it to others."""
        if self._tidied == today:
            return
        self._tidied = today
        oldest = (datetime.fromisoformat(today) - timedelta(days=KEPT_DAYS)).date().isoformat()
        with contextlib.suppress(AccessDenied):  # then it is the bucket's lifecycle that does it
            for info in list(self._store.list(keys.TRAFFIC)):
                if info.key.split("/")[1] < oldest:
                    self._store.delete(info.key)


class TrafficReader:
    """Reads what all processes wrote. A file that has not changed is read once."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._read: dict[str, tuple[str, list[Interval]]] = {}

    def intervals(self, since: float, *, step: int = INTERVAL_S) -> list[Interval]:
        """The intervals from `since` (Unix seconds) on, all processes together, merged to `step` seconds, in order.

        Raises `StorageError`. A damaged file is passed over and logged.
        """
        merged: dict[int, Interval] = {}
        first, infos = _day(int(since)), self._store.list(keys.TRAFFIC)
        wanted = [info for info in infos if info.key.split("/")[1] >= first][-_MOST_FILES:]
        self._read = {info.key: self._read[info.key] for info in wanted if info.key in self._read}
        for row in (row for info in wanted for row in self._file(info)):
            if row.at >= since:
                at = row.at // step * step
                merged.setdefault(at, Interval(at)).add(row)
        return [merged[at] for at in sorted(merged)]

    def _file(self, info: ObjectInfo) -> list[Interval]:
        known = self._read.get(info.key)
        if known is not None and known[0] == info.etag:
            return known[1]
        try:
            rows = list(_intervals(info.key, self._store.get(info.key)))
        except CorruptObject as error:
            _LOG.warning("%s", error)
            rows = []
        self._read[info.key] = info.etag, rows
        return rows


def process_name() -> str:
    """A name for this process's file that no other has: machine, process, time."""
    machine = re.sub(r"[^A-Za-z0-9.-]+", "-", socket.gethostname()) or "unknown"
    return f"{machine}-{os.getpid()}-{int(time.time())}"


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).date().isoformat()


def _parquet(rows: list[dict[str, Any]]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), out, compression="zstd")
    return out.getvalue()


def _intervals(key: str, data: bytes) -> Iterable[Interval]:
    try:
        table = pq.read_table(io.BytesIO(data)).select(_SCHEMA.names).cast(_SCHEMA)
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise CorruptObject(key, f"this is no record of searches: {error}") from error
    for row in table.to_pylist():
        names, counts = row.pop("categories"), row.pop("counts")
        if len(row["times"]) == len(BOUNDS_MS) + 1:
            yield Interval(**row, categories=Counter(dict(zip(names, counts, strict=False))))
