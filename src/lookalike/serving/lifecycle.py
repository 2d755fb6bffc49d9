"""The life of a search process: load what the settings name, become ready, follow the live ref, drain.

One thread does all loading, so the event loop and the searching thread never wait for a disk. A new pair of model
release and index snapshot is opened, warmed and tried beside the one that serves, and takes its place by one
assignment; requests that hold the old one finish with it. A pair that cannot be opened is refused: the old one goes
on, `/readyz` and the metrics say so, and it is tried again later in case the store, not the snapshot, was at fault.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.errors import (
    CorruptObject,
    LookalikeError,
    ObjectNotFound,
    ReleaseError,
    SegmentError,
    ServiceBusy,
)
from lookalike.publishing.live_ref import Hold, read_live
from lookalike.serving.config import ServingConfig
from lookalike.serving.copies import Copies
from lookalike.serving.discretion import discreet
from lookalike.serving.memory import spare_collector
from lookalike.serving.metrics import Metrics
from lookalike.serving.snapshot import ServedSnapshot, open_snapshot, release_of
from lookalike.sharding.fleet import Fleet
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.objects import ObjectStore

_LOG = logging.getLogger("lookalike.serving")
_LONGEST_RETRY_S = 60.0
DAMAGED = (CorruptObject, ObjectNotFound, SegmentError, ReleaseError)
"""What says that the pair itself is at fault, not the way to it: whoever rolls it out need not wait for longer."""

Pair = tuple[Ref, Ref]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pair that could not be loaded, why, and when (monotonic seconds) it is tried again. Anybody may ask why."""

    pair: Pair
    reason: str
    damaged: bool
    attempts: int
    again_at: float


class Lifecycle:
    """Holds the snapshot that is served. `start` begins loading in the background; `stop` ends it."""

    def __init__(
        self,
        store: ObjectStore,
        config: ServingConfig,
        metrics: Metrics,
        *,
        cache_dir: Path,
        threads: int = 0,
    ) -> None:
        self.store, self.config, self.metrics = store, config, metrics
        self.threads = threads
        self._cache_dir = cache_dir
        self._copies = Copies(store, cache_dir)
        self._fleet = Fleet(config.rankers) if config.rankers and config.rankers.urls else None
        self._current: ServedSnapshot | None = None
        self._previous: ServedSnapshot | None = None
        self._refusal: Refusal | None = None
        self._hold: Hold | None = None
        self._base: Ref | None = None
        """The index snapshot that the live ref names: the base of what is wanted."""
        self._waiting_for = "the first snapshot is being loaded"
        self._draining = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lifecycle", daemon=True)

    def start(self) -> None:
        if self._fleet is not None:
            self._fleet.start()
        self._thread.start()

    def stop(self) -> None:
        """End loading; a load that is under way is finished first."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._fleet is not None:
            self._fleet.stop()

    def drain(self) -> None:
        """Say not ready from now on, so that no new requests are sent here; those that come are answered."""
        self._draining = True
        self.metrics.ready.set(0)

    @property
    def draining(self) -> bool:
        return self._draining

    @property
    def snapshot(self) -> ServedSnapshot:
        """What to answer from. Raises `ServiceBusy` before the first load."""
        if self._current is None:
            raise ServiceBusy(f"not ready: {self._reason()}", retry_after=2)
        return self._current

    @property
    def previous(self) -> ServedSnapshot | None:
        """The snapshot before: pages that were answered from it still ask for its photos."""
        return self._previous

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether to send requests here, and why (not): the body of ``/readyz``."""
        current, refusal = self._current, self._refusal
        reasons = []
        if current is None:
            reasons.append(self._reason())
        if self._draining:
            reasons.append("draining")
        body: dict[str, Any] = {
            "ready": not reasons,
            "reasons": reasons,
            "release": str(current.release.ref) if current else None,
            "index": str(current.index.ref) if current else None,
            "delta": str(current.tip) if current and current.deltas else None,
            "listings": len(current.searcher.summary) if current else 0,
            "load_seconds": round(current.load_seconds, 3) if current else None,
        }
        if (hold := self._hold) is not None:
            body["hold"] = {
                "rollback": hold.sequence,
                "since": hold.at,
            }  # not who and why: strangers may read this
        if refusal is not None:
            release, index = refusal.pair
            body["refused"] = {
                "release": str(release),
                "index": str(index if index.kind is Kind.INDEX else self._base),
                "delta": str(index) if index.kind is Kind.DELTA else None,
                "reason": refusal.reason,
                "damaged": refusal.damaged,
            }
        return not reasons, body

    def check(self) -> None:
        """Look once at what should be served, and load it if it is something else."""
        try:
            wanted = self._wanted()
        except LookalikeError as error:
            self._waiting_for = self._discreet(str(error))
            _LOG.warning("cannot tell what to serve: %s", error)
            return
        if wanted is None:
            self._waiting_for = "nothing has been published yet"
            return
        current, refusal = self._current, self._refusal
        if refusal is not None and refusal.pair != wanted:
            self._forget()  # what was fetched for it, and kept for another try
        if current is not None and current.pair == wanted:
            self._refusal = None
            return
        if refusal is not None and refusal.pair == wanted and time.monotonic() < refusal.again_at:
            return
        try:
            loaded = open_snapshot(
                self._copies,
                *wanted,
                self.config,
                threads=self.threads,
                previous=current,
                fleet=self._fleet,
            )
        except LookalikeError as error:
            self._refuse(
                wanted,
                str(error),
                damaged=isinstance(error, DAMAGED),
                soon=isinstance(error, ServiceBusy),  # rankers are loading, too
            )
        except Exception as error:
            _LOG.exception("loading %s failed", wanted[1])
            self._refuse(wanted, f"{type(error).__name__} while loading; the log has more")
        else:
            self._swap(loaded)

    def _run(self) -> None:
        # At the priority of all others: a thread that yields to them while it holds the GIL stops them, too (measured:
        # p99 during a reload 5 times the steady one on a busy machine).
        while not self._stop.is_set():
            self.check()
            self._stop.wait(self.config.poll_seconds)

    def _wanted(self) -> Pair | None:
        if self.config.index is not None:
            return self._wanted_over(self.config.index)
        live = read_live(self.store)
        self._hold = live.hold if live else None
        self._base = live.live.index if live else None
        return (live.live.release, live.live.tip) if live else None

    def _wanted_over(self, base: Ref) -> Pair:
        """The index snapshot that this process was told to serve, with the deltas that the live ref has over it.

        Where the live ref names another one, or cannot be read, whatever is served stays. A delta is served as it is.
        """
        self._base = base
        try:
            live = read_live(self.store)
        except LookalikeError as error:
            _LOG.warning("cannot tell which deltas are live: %s", error)
            live = None
        if live is not None and live.live.index == base:
            return live.live.release, live.live.tip
        if self._current is not None:
            return self._current.pair
        return release_of(self.store, base), base

    def _swap(self, loaded: ServedSnapshot) -> None:
        if self._current is None:
            spare_collector()
        self._previous, self._current, self._refusal = self._current, loaded, None
        if self._fleet is not None:
            self._fleet.keep(loaded.tip)
        metrics = self.metrics
        metrics.loads.labels("loaded").inc()
        metrics.load_seconds.set(loaded.load_seconds)
        metrics.listings.set(len(loaded.searcher.summary))
        metrics.unlearned.set(sum(loaded.catalogue["unlearned"].values()))
        metrics.snapshot.clear()
        metrics.snapshot.labels(str(loaded.release.ref), str(loaded.index.ref)).set(1)
        metrics.ready.set(0 if self._draining else 1)
        _LOG.info(
            "serving %s, %d deltas, with %s: %d listings, loaded in %.2f s",
            loaded.tip,
            len(loaded.deltas),
            loaded.release.ref,
            len(loaded.searcher.summary),
            loaded.load_seconds,
        )
        self._forget()

    def _forget(self) -> None:
        """Remove fetched copies that neither the snapshot served nor the one before needs."""
        serving = [snapshot for snapshot in (self._current, self._previous) if snapshot is not None]
        self._copies.keep(artefact for snapshot in serving for artefact in snapshot.artefacts)

    def _refuse(self, pair: Pair, reason: str, *, damaged: bool = False, soon: bool = False) -> None:
        before = self._refusal
        attempts = before.attempts + 1 if before is not None and before.pair == pair else 1
        delay = min(_LONGEST_RETRY_S, self.config.poll_seconds * (1 if soon else 2**attempts))
        again_at = time.monotonic() + delay
        self._refusal = Refusal(pair, self._discreet(reason), damaged, attempts, again_at)
        self.metrics.loads.labels("refused").inc()
        _LOG.error("refused %s: %s", pair[1], reason)

    def _discreet(self, reason: str) -> str:
        return discreet(reason, self.store.uri, self._cache_dir)

    def _reason(self) -> str:
        return self._refusal.reason if self._refusal is not None else self._waiting_for
