"""What a ranker holds: its shards of the live index, and of every index that a coordinator has named lately.

One thread does all loading. A snapshot is fetched (only the segments of this ranker's part), verified, mapped, read
into memory and tried beside those that are held, and let go once it is neither live nor named: so coordinators and
rankers change over in any order, and a coordinator never finds the snapshot it serves gone. One that cannot be loaded
is refused, which `/v1/shards` tells the coordinators and `/readyz` everybody, and is tried again later.
"""

from __future__ import annotations

import logging
import re
import socket
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from lookalike.errors import LookalikeError, ReleaseError, SettingsError
from lookalike.index.generation import generation_of
from lookalike.index.hamming import Scanner
from lookalike.index.layers import has_rows, open_index
from lookalike.index.reader import Memory
from lookalike.index.segment import segment_name
from lookalike.index.tombstones import TOMBSTONES
from lookalike.publishing.live_ref import read_live
from lookalike.ranking.filters import Filters
from lookalike.ranking.listings import Wanted
from lookalike.ranking.local import MappedListings
from lookalike.serving.config import ServingConfig
from lookalike.serving.copies import Copies
from lookalike.serving.discretion import discreet
from lookalike.serving.lifecycle import DAMAGED
from lookalike.serving.memory import spare_collector
from lookalike.serving.metrics import Metrics
from lookalike.storage.artefacts import Artefact, Kind, Ref, read_manifest
from lookalike.storage.objects import ObjectStore

_LOG = logging.getLogger("lookalike.serving")
NAMED_SECONDS = 30.0
"""How long an index is held after a coordinator has named it; coordinators name theirs every second."""
MAXIMUM_HELD = 3
"""Snapshots held at a time: one that is coming, one that is going, and one to spare."""
_LONGEST_RETRY_S = 60.0


@dataclass(frozen=True, slots=True)
class Part:
    """Which shards a ranker holds: those whose number is `number` modulo `of`."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """``1/3``, or ``ordinal/3`` for the number that a StatefulSet gave this pod, modulo 3.

        Raises `SettingsError`.
        """
        match = re.fullmatch(r"(\d{1,4}|ordinal)/(\d{1,4})", text, re.ASCII)
        of = int(match[2]) if match else 0
        if not match or of < 1 or (match[1] != "ordinal" and int(match[1]) >= of):
            raise SettingsError(f"--part {text!r}: write it as 0/3, 1/3, 2/3, or ordinal/3 in a StatefulSet")
        return cls(_ordinal() % of if match[1] == "ordinal" else int(match[1]), of)

    def shards(self, count: int) -> range:
        """Its shards of an index that has `count`."""
        return range(self.number, count, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True, slots=True)
class Held:
    """One index snapshot with its deltas, as far as this ranker has them."""

    artefacts: tuple[Artefact, ...]
    """Base and deltas, oldest first."""
    shards: Mapping[int, MappedListings]
    load_seconds: float

    @property
    def release(self) -> str:
        return str(self.artefacts[0].manifest.meta["release"])


@dataclass(frozen=True, slots=True)
class _Refusal:
    reason: str
    damaged: bool
    attempts: int
    again_at: float


class NotHeld(LookalikeError):
    """This ranker does not hold the snapshot or the shard that it was asked about."""


class Holdings:
    """The snapshots of one ranker. `start` begins loading in the background; `stop` ends it."""

    def __init__(
        self,
        store: ObjectStore,
        part: Part,
        config: ServingConfig,
        metrics: Metrics,
        *,
        cache_dir: Path,
        threads: int = 0,
    ) -> None:
        self.store, self.part, self.config, self.metrics = store, part, config, metrics
        self.draining = False
        self._cache_dir = cache_dir
        self._copies = Copies(store, cache_dir)
        self._scanner = Scanner(threads)
        self._held: dict[Ref, Held] = {}
        self._named: dict[Ref, float] = {}
        self._refused: dict[Ref, _Refusal] = {}
        self._live: Ref | None = None
        self._waiting_for = "the first snapshot is being loaded"
        self._stop, self._wake = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="holdings", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End loading; a load that is under way is finished first."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def drain(self) -> None:
        """Say not ready from now on; questions that come are answered."""
        self.draining = True
        self.metrics.ready.set(0)

    def name(self, indexes: Collection[Ref]) -> None:
        """Remember that a coordinator serves these; what is new is loaded soon."""
        now = time.monotonic()
        self._named = {ref: at for ref, at in self._named.items() if now - at < NAMED_SECONDS}
        if not set(indexes) <= set(self._named) | {self._live}:
            self._wake.set()
        self._named |= dict.fromkeys(indexes, now)

    def listings(self, index: Ref, shard: int) -> MappedListings:
        """A shard. Raises `NotHeld`."""
        held = self._held.get(index)
        if held is None or shard not in held.shards:
            raise NotHeld(f"this ranker ({self.part}) does not hold shard {shard} of {index}")
        return held.shards[shard]

    def state(self) -> dict[str, Any]:
        """What is held and what was refused: the body of ``/v1/shards``."""
        return {
            "part": str(self.part),
            "draining": self.draining,
            "held": {str(ref): list(held.shards) for ref, held in self._held.items()},
            "refused": {str(ref): refusal.reason for ref, refusal in self._refused.items()},
            "damaged": [str(ref) for ref, refusal in self._refused.items() if refusal.damaged],
        }

    def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Whether coordinators may ask here, and why (not): the body of ``/readyz``."""
        reasons = [] if self._held else [*(r.reason for r in self._refused.values())] or [self._waiting_for]
        if self.draining:
            reasons.append("draining")
        return not reasons, {"ready": not reasons, "reasons": reasons} | self.state()

    def memory(self) -> Memory:
        """Of all that is held."""
        found = [listings.memory() for held in self._held.values() for listings in held.shards.values()]
        return Memory(sum(m.mapped for m in found), sum(m.resident for m in found))

    def check(self) -> None:
        """Load what is wanted and not held, and let go of what is not wanted any more."""
        wanted = self._wanted()
        for ref in wanted:
            refusal = self._refused.get(ref)
            if ref in self._held or (refusal is not None and time.monotonic() < refusal.again_at):
                continue
            try:
                self._hold(ref, self._load(ref))
            except LookalikeError as error:
                self._refuse(ref, str(error), damaged=isinstance(error, DAMAGED))
            except Exception as error:
                _LOG.exception("loading %s failed", ref)
                self._refuse(ref, f"{type(error).__name__} while loading; the log has more")
        outdated = set(self._refused) - set(wanted)
        self._refused = {ref: refusal for ref, refusal in self._refused.items() if ref in wanted}
        if wanted and wanted[0] in self._held:  # never the only one
            for ref in set(self._held) - set(wanted):
                self._let_go(ref)
                outdated.add(ref)
        if outdated:
            self._copies.keep(artefact for held in self._held.values() for artefact in held.artefacts)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            self.check()
            self._wake.wait(self.config.poll_seconds)

    def _wanted(self) -> list[Ref]:
        """What to hold: the live index first, then those that coordinators have named, the latest first."""
        try:
            live = read_live(self.store)
        except LookalikeError as error:
            self._waiting_for = discreet(str(error), self.store.uri, self._cache_dir)
            _LOG.warning("cannot tell what is live: %s", error)
        else:
            self._live = live.live.tip if live else None
            self._waiting_for = "nothing has been published yet" if live is None else "it is being loaded"
        now = time.monotonic()
        named = sorted(((at, ref) for ref, at in list(self._named.items())), key=lambda item: -item[0])
        recent = [ref for at, ref in named if now - at < NAMED_SECONDS and ref != self._live]
        return ([self._live] if self._live else []) + recent[: MAXIMUM_HELD - 1]

    def _load(self, ref: Ref) -> Held:
        started = time.monotonic()
        tip = read_manifest(self.store, ref)
        count = int(tip.meta["shards"])
        mine, generation = self.part.shards(count), generation_of(ref, tip)
        base, *deltas = (self._fetch(part, mine, count) for part in generation.parts)
        shards = {}
        for shard in mine:
            before = self._held_over(generation.base, shard)
            reuse = None if before is None else before.index
            opened = open_index(base, deltas, shard=shard, reuse=reuse, prefetch=True)
            shards[shard] = MappedListings(opened, self._scanner, reuse=before)
            _try_out(shards[shard], shard)
        if not shards:
            _LOG.warning(
                "%s has %d shards, none of them in part %s: this ranker is idle", ref, count, self.part
            )
        return Held((base, *deltas), shards, time.monotonic() - started)

    def _fetch(self, ref: Ref, shards: Collection[int], count: int) -> Artefact:
        """A base or a delta: the segments of these shards, and tombstones."""
        manifest = read_manifest(self.store, ref)
        names = [segment_name(shard, count) for shard in shards] if has_rows(manifest) else []
        return self._copies.fetch(ref, names + [TOMBSTONES] * (ref.kind is Kind.DELTA))

    def _held_over(self, base: Ref, shard: int) -> MappedListings | None:
        """The shard of the last generation held that has this base: what it has open serves the next one, too."""
        held = [h for h in self._held.values() if h.artefacts[0].ref == base and shard in h.shards]
        return held[-1].shards[shard] if held else None

    def _hold(self, ref: Ref, held: Held) -> None:
        if not self._held:
            spare_collector()
        self._held[ref] = held
        self._refused.pop(ref, None)
        metrics = self.metrics
        metrics.loads.labels("loaded").inc()
        metrics.load_seconds.set(held.load_seconds)
        metrics.snapshot.labels(held.release, str(ref)).set(1)
        metrics.ready.set(0 if self.draining else 1)
        self._count()
        _LOG.info("holding shards %s of %s, loaded in %.2f s", list(held.shards), ref, held.load_seconds)

    def _let_go(self, ref: Ref) -> None:
        outdated = self._held.pop(ref)
        self.metrics.snapshot.remove(outdated.release, str(ref))
        self._count()
        _LOG.info("let go of %s", ref)

    def _count(self) -> None:
        sizes = (len(listings.summary) for held in self._held.values() for listings in held.shards.values())
        self.metrics.listings.set(sum(sizes))

    def _refuse(self, ref: Ref, reason: str, *, damaged: bool = False) -> None:
        before = self._refused.get(ref)
        attempts = before.attempts + 1 if before else 1
        delay = min(_LONGEST_RETRY_S, self.config.poll_seconds * 2**attempts)
        said = discreet(reason, self.store.uri, self._cache_dir)
        self._refused[ref] = _Refusal(said, damaged, attempts, time.monotonic() + delay)
        self.metrics.loads.labels("refused").inc()
        _LOG.error("refused %s: %s", ref, reason)


def _try_out(listings: MappedListings, shard: int) -> None:
    """Find a listing by its own code. Raises `ReleaseError`."""
    for category, (listing_id, _) in islice(listings.summary.examples.items(), 1):
        found = listings.find(listing_id)
        distances = (
            listings.nearest([Wanted(found[1][0], (category,), Filters(), 1)])[0].distance if found else ()
        )
        if list(distances) != [0]:
            name = listings.summary.name
            raise ReleaseError(f"shard {shard} of {name}: {listing_id} is not found by its own code")


def _ordinal() -> int:
    """The number at the end of the host's name, as pods of a StatefulSet have one. Raises `SettingsError`."""
    name = socket.gethostname()
    match = re.search(r"-(\d+)$", name, re.ASCII)
    if not match:
        raise SettingsError(f"--part ordinal/n: the host name {name} does not end in a pod's number")
    return int(match[1])
