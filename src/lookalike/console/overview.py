"""What the object store says: the live pair, its history, the listings per category, the quality of the last releases.

Manifests never change, so each is read once. Everything here blocks; the application calls it on a thread.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lookalike.console.metrics import Live
from lookalike.errors import CorruptObject, ObjectNotFound
from lookalike.publishing import data_gate, live_ref
from lookalike.storage import audit, keys, sequence
from lookalike.storage.artefacts import Kind, Manifest, Ref, find, read_manifest
from lookalike.storage.objects import ObjectStore

RELEASES, RECORDS, ACTIONS = 8, 6, 8
_SHOWN = {
    "top1": "category top-1",
    "top5": "category top-5",
    "code_precision10": "precision@10",
    "code_mAP": "mAP of codes",
}
"""Names in a model release's metrics -> names in the plot."""
_LOOKS = ("product first", "colour in the first 8")
"""Measures of the quality gate that are shown beside them, where it measured them."""
SIZE_S = 600
"""Seconds for which the size of the store is believed."""
_MOST_OBJECTS = 300_000


@dataclass(frozen=True, slots=True)
class ReleaseQuality:
    """One model release: when it was finished, by which recipe, and its held-out measures (fractions of 1)."""

    id: str
    made: str
    recipe: str
    measures: Mapping[str, float]
    live: bool


class Overview:
    """Reads one store for the page. Safe to call from several threads."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store
        self._manifests: dict[str, Manifest] = {}
        self._refs: dict[str, Ref] = {}
        self._measures: dict[str, Mapping[str, float]] = {}
        self._size: tuple[float, dict[str, Any]] | None = None
        self._lock = threading.Lock()

    def counted(self, record: live_ref.LiveRecord) -> Live:
        """What Prometheus is told of the live record."""
        listings = sum(dict(self._manifest(record.tip).meta["categories"]).values())
        return Live(str(record.release), str(record.index), record.at, listings)

    def live(self) -> dict[str, Any] | None:
        """The live pair as JSON: ids, since when and by whom, categories with listings, the hold,
        and where a roll-back leads."""
        found = live_ref.read_live(self.store)
        if found is None:
            return None
        record, index = found.live, self._manifest(found.live.tip)
        release = self._manifest(record.release)
        back, model = found.before(), next(iter(found.of_previous_release()), None)
        categories = dict(index.meta["categories"])
        return {
            **record.to_json(),
            "release": record.release.id,
            "index": record.index.id,
            "age_s": _age(record.at),
            "recipe": _recipe(release),
            "listings": sum(categories.values()),
            "photos": self._photos(index),
            "categories": [
                {"name": name, "listings": count}
                for name, count in sorted(categories.items(), key=lambda item: (-item[1], item[0]))
            ],
            "back": None if back is None else _short(back),
            "model_back": None if model is None else _short(model),
            "hold": None if found.hold is None else asdict(found.hold) | {"age_s": _age(found.hold.at)},
            "rejected": [entry.ref.id for entry in found.rejected],
            "history": [_short(r) for r in reversed((*found.history, record)[-RECORDS:])],
        }

    def releases(self) -> list[ReleaseQuality]:
        """The last model releases, oldest first."""
        live = live_ref.read_live(self.store)
        made = sequence.manifests(self.store.list(f"{Kind.RELEASE.value}/"))
        releases = []
        for info in made[-RELEASES:]:
            ref = self._ref(info.key.split("/")[1])
            manifest = self._manifest(ref)
            releases.append(
                ReleaseQuality(
                    id=ref.id,
                    made=info.modified.isoformat(timespec="seconds"),
                    recipe=_recipe(manifest),
                    measures={**headline(manifest.meta.get("metrics", {})), **self._looks(ref)},
                    live=live is not None and live.live.release == ref,
                )
            )
        return releases

    def actions(self, problems: list[str]) -> list[dict[str, Any]]:
        """The last actions, newest first. Records that cannot be read are left out and said in `problems`."""
        damaged: list[CorruptObject] = []
        found = audit.recent(self.store, 2 * ACTIONS, damaged=damaged)
        if damaged:
            records = (
                "1 damaged audit record is"
                if len(damaged) == 1
                else f"{len(damaged)} damaged audit records are"
            )
            problems.append(f"{records} not shown: {damaged[0]}")
        return [
            {"at": r.at, "by": r.by, "action": r.action, "detail": dict(r.detail), "outcome": r.outcome}
            for r in found
            if r.outcome != audit.ASKED
        ][:ACTIONS]

    def published(self) -> list[dict[str, Any]]:
        """What was live since when, oldest first: its listings, and the share of rows left out (None: not known).

        Records whose artefacts retention has removed are left out.
        """
        found = live_ref.read_live(self.store)
        published = []
        for record in () if found is None else (*found.history, found.live):
            try:
                index = self._manifest(record.tip)
                curated = self._manifest(Ref.parse(index.inputs["curated"])).meta
            except (ObjectNotFound, KeyError):
                continue
            rows, left = curated.get("rows"), curated.get("left_out")
            published.append(
                {
                    "at": datetime.fromisoformat(record.at).timestamp(),
                    "sequence": record.sequence,
                    "listings": sum(index.meta["categories"].values()),
                    "left_out": sum(left.values()) / rows if rows and left is not None else None,
                }
            )
        return published

    def size(self) -> dict[str, Any]:
        """Bytes in the store by what they are for, largest first; at most ten minutes old.

        `complete` is false where there are more objects than were counted.
        """
        now = time.monotonic()
        if self._size is None or now - self._size[0] > SIZE_S:
            parts, objects = Counter[str](), 0
            for info in self.store.list(""):
                parts[info.key.partition("/")[0]] += info.size
                objects += 1
                if objects == _MOST_OBJECTS:
                    break
            shown = [{"name": name, "bytes": size} for name, size in parts.most_common()]
            complete = objects < _MOST_OBJECTS
            self._size = (
                now,
                {"bytes": parts.total(), "objects": objects, "complete": complete, "parts": shown},
            )
        return self._size[1]

    def refused(self) -> dict[str, Any] | None:
        """The last publication, if the data gate refused it: which index against which, when, by whom, and why."""
        found = data_gate.refusal(self.store)
        if found is None:
            return None
        index, live = (str(found.detail.get(name)) for name in ("index", "live"))
        return {
            "at": found.at,
            "by": found.by,
            "index": index,
            "live": live,
            "why": data_gate.reason(found),
        }

    def _photos(self, index: Manifest) -> int | None:
        extraction = Ref.parse(index.inputs["extraction"])
        found = self._manifest(extraction).meta.get("photos")
        return None if found is None else int(found)

    def _looks(self, release: Ref) -> Mapping[str, float]:
        """What the quality gate measured of a release's looks."""
        if release.id not in self._measures:
            try:
                found = json.loads(self.store.get(keys.measures(release.id)))
                self._measures[release.id] = {
                    name: float(found[name])
                    for name in _LOOKS
                    if isinstance(found.get(name), int | float) and math.isfinite(found[name])
                }
            except ObjectNotFound:
                return {}  # it may be measured later
            except (ValueError, AttributeError):
                self._measures[release.id] = {}
        return self._measures[release.id]

    def _ref(self, release_id: str) -> Ref:
        if release_id not in self._refs:
            self._refs[release_id] = find(self.store, Kind.RELEASE, release_id)
        return self._refs[release_id]

    def _manifest(self, ref: Ref) -> Manifest:
        with self._lock:
            found = self._manifests.get(str(ref))
        if found is None:
            found = read_manifest(self.store, ref)
            with self._lock:
                self._manifests[str(ref)] = found
        return found


def headline(metrics: Mapping[str, Any]) -> dict[str, float]:
    """The measures of a release that the plot shows, by the names that people know."""
    found = {shown: metrics.get(name) for name, shown in _SHOWN.items()}
    return {shown: float(m) for shown, m in found.items() if isinstance(m, int | float) and math.isfinite(m)}


def _recipe(release: Manifest) -> str:
    found = release.meta.get("recipe") or release.config.get("recipe") or {}
    return str(found.get("name", "") if isinstance(found, Mapping) else found)


def _short(record: live_ref.LiveRecord) -> dict[str, Any]:
    return record.to_json() | {
        "release": record.release.id,
        "index": record.index.id,
        "age_s": _age(record.at),
    }


def _age(at: str) -> float:
    return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(at)).total_seconds())
