"""Which artefacts may go: a plan made from references alone, then carried out manifest first.

Kept are the live generation (model release, base, deltas), those of the last records of its history and of those that
a roll-back returns to, the newest artefact of each kind, the newest model releases with all their codes, everything
younger than a grace period, work in progress of which anything is younger (a training writes checkpoints, an
extraction notes itself with every shard), and whatever a kept manifest or such work refers to, packs of photos
included. A code shard that was merged goes with the last extraction that names it. With a photo's last pack goes what
the photo log keeps beside it (`catalogue.remnants`). While a curation is under way nothing of photos goes: it may use
any. A roll-back of the model finds the release before the live one with all its codes and the last index that was live
for it. The rest goes; refs, audit records and the like are never looked at. A manifest is removed before its files, so
nothing half-there is ever visible, and a removal that was killed is finished by the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from lookalike.catalogue.remnants import forgotten, outdated
from lookalike.coding.compaction import superseded
from lookalike.errors import LostRace, ObjectNotFound, SettingsError
from lookalike.progress import Progress, silent
from lookalike.publishing import live_ref
from lookalike.storage import keys, sequence
from lookalike.storage.artefacts import Kind, Manifest, Ref
from lookalike.storage.objects import ObjectInfo, ObjectStore

_PREFIXES = (*(f"{kind.value}/" for kind in Kind), keys.CODES, keys.CHECKPOINTS, keys.PHOTOS)


@dataclass(frozen=True, slots=True)
class RetentionConfig:
    """What is kept beyond the live pair."""

    table: ClassVar[str] = "retention"

    records: int = 3
    """Records of the live ref before the live one whose pairs stay whole, so that roll-backs find them: at most the 40
    that it remembers.

    With one or more the model release before the live one stays servable, too, however many moves ago it was live.
    """
    releases: int = 2
    """Newest model releases that keep all their codes, whether an extraction lists them or not."""
    grace_hours: float = 24.0
    """Hours: nothing younger is removed. Longer than the longest step runs without writing anything."""


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What goes and what stays. `keys` are in the order in which they are removed: manifests first."""

    kept: tuple[str, ...]
    removed: tuple[str, ...]
    keys: tuple[str, ...]
    bytes: int
    live_etag: str | None
    cutoff: datetime | None = None
    """Nothing younger was to be removed."""

    def to_json(self) -> dict[str, Any]:
        return {
            "kept": list(self.kept),
            "removed": list(self.removed),
            "objects": len(self.keys),
            "bytes": self.bytes,
        }


@dataclass(frozen=True, slots=True)
class _Found:
    ref: Ref
    manifest: Manifest
    modified: datetime


def plan(
    store: ObjectStore, config: RetentionConfig = RetentionConfig(), *, now: datetime | None = None
) -> RetentionPlan:
    """What `apply` would remove. Where nothing is live yet nothing goes: there is no telling what is wanted."""
    live = live_ref.read_live(store)
    objects = {info.key: info for prefix in _PREFIXES for info in store.list(prefix)}
    found = {entry.ref.id: entry for entry in _artefacts(store, objects)}
    if live is None:
        return RetentionPlan(tuple(sorted(_name(e.ref) for e in found.values())), (), (), 0, None)
    cutoff = (now or datetime.now(UTC)) - timedelta(hours=config.grace_hours)
    newest_releases = _newest(found.values(), Kind.RELEASE)[: config.releases]
    roots = {ref.id for record in _records(live, config.records) for ref in record.refs}
    roots |= {entry.ref.id for entry in newest_releases}
    roots |= {entry.ref.id for kind in Kind for entry in _newest(found.values(), kind)[:1]}
    roots |= {artefact_id for artefact_id, entry in found.items() if entry.modified > cutoff}
    working = {
        keys.folder(key) for key, info in objects.items() if _in_progress(key) and info.modified > cutoff
    }
    noted = {ref.id for folder in working for ref in _noted(store, folder)}
    roots |= noted
    curating = any(folder.startswith(keys.CURATING) for folder in working)
    kept = _closure(roots, found)
    wanted = {key for artefact_id in kept for key in _files(store, found[artefact_id])}
    places = {keys.artefact(found[artefact_id].ref.kind, artefact_id) for artefact_id in kept}
    wanted |= {key for key in objects if keys.sequence_number(key) is not None and keys.folder(key) in places}
    whole_codes = {entry.ref.id for entry in newest_releases} | {
        record.release.id for record in _models(live, config.records)
    }
    codes = {key for key in objects if key.startswith(tuple(map(keys.code_shards, whole_codes)))}
    unnamed = {key for key in codes - wanted if objects[key].modified <= cutoff}
    for release_id in whole_codes - noted:
        if any(key.startswith(keys.code_shards(release_id)) for key in unnamed):
            codes -= superseded(store, release_id)
    gone = [
        info
        for key, info in objects.items()
        if key not in wanted
        and info.modified <= cutoff
        and key not in codes
        and keys.folder(key) not in working
        and (key.startswith(keys.PACKS) or not key.startswith(keys.PHOTOS))
        and not (curating and key.startswith(keys.PHOTOS))
    ]
    if not curating:
        gone += _remnants(store, objects, {info.key for info in gone}, cutoff)
    gone.sort(key=lambda info: (not info.key.endswith("/" + keys.MANIFEST), info.key))
    return RetentionPlan(
        kept=tuple(sorted(_name(found[artefact_id].ref) for artefact_id in kept)),
        removed=tuple(sorted(_name(e.ref) for artefact_id, e in found.items() if artefact_id not in kept)),
        keys=tuple(info.key for info in gone),
        bytes=sum(info.size for info in gone),
        live_etag=live.etag,
        cutoff=cutoff,
    )


def apply(store: ObjectStore, planned: RetentionPlan, *, progress: Progress = silent) -> None:
    """Remove what a plan names, but nothing of photos where a curation has begun since.

    The live ref says so first, and again when it is done: whoever publishes meanwhile is refused what goes, and a plan
    that was made before a publication is not carried out. Raises `LostRace` where the live ref has moved since: plan
    again.
    """
    live = live_ref.read_live(store)
    if (None if live is None else live.etag) != planned.live_etag:
        raise LostRace(keys.LIVE_REF, f"{store.uri}: the live ref moved since this was planned; plan again")
    if (
        live is not None and live.removing != planned.removed
    ):  # what a removal that was killed has left is planned anew
        live_ref.remove(store, expected=live, names=planned.removed)
    for done, key in enumerate(planned.keys, 1):
        if not (key.startswith(keys.PHOTOS) and _curating(store, planned.cutoff)):
            store.delete(key)
        progress("retention", done, len(planned.keys), key)
    live_ref.removed(store, planned.removed)


def _remnants(
    store: ObjectStore, objects: Mapping[str, ObjectInfo], gone: Collection[str], cutoff: datetime
) -> Iterator[ObjectInfo]:
    """What lies beside photos that go, and old verdicts. The photo log is looked at only where a pack goes."""
    photos = {key for key in objects if key.startswith(keys.PHOTOS)}
    unneeded = outdated(photos)
    if any(key.startswith(keys.PACKS) for key in gone):
        in_use = {keys.way(key) for key in photos if objects[key].modified > cutoff} - {None}
        unneeded |= {
            key
            for key in forgotten(store, {key: objects[key].size for key in photos}, objects.keys() - gone)
            if keys.way(key) not in in_use
        }
    yield from (objects[key] for key in unneeded if objects[key].modified <= cutoff)


def _curating(store: ObjectStore, cutoff: datetime | None) -> bool:
    return any(cutoff is None or info.modified > cutoff for info in store.list(keys.CURATING))


def _records(live: live_ref.LiveRef, count: int) -> Iterator[live_ref.LiveRecord]:
    """The live record, the `count` before it, as many as that on the way of roll-backs, and one of the model before."""
    yield live.live
    yield from _models(live, count)
    yield from live.history[len(live.history) - min(count, len(live.history)) :]
    record: live_ref.LiveRecord | None = live.live
    for _ in range(count):
        if record is None or record.parent is None:
            return
        record = live.record(record.parent)
        if record is not None:
            yield record


def _models(live: live_ref.LiveRef, count: int) -> Iterator[live_ref.LiveRecord]:
    """Where a roll-back of the model leads, if roll-backs are wanted at all."""
    if count:
        yield from live.of_previous_release()[:1]


def _artefacts(store: ObjectStore, objects: Mapping[str, ObjectInfo]) -> Iterator[_Found]:
    """All finished ones, those of a kind in the order in which they were finished."""
    manifests = [
        info
        for kind in Kind
        for info in sequence.manifests(each for key, each in objects.items() if key.startswith(f"{kind}/"))
    ]
    for info in manifests:
        try:
            data = store.get(info.key)
        except ObjectNotFound:  # removed while we looked
            continue
        manifest = Manifest.from_bytes(data, info.key)
        ref = Ref(manifest.kind, manifest.id, hashlib.sha256(data).hexdigest())
        yield _Found(ref, manifest, info.modified)


def _in_progress(key: str) -> bool:
    return key.startswith(keys.CHECKPOINTS)


def _noted(store: ObjectStore, folder: str) -> Iterator[Ref]:
    """What goes into the artefact that is being made; nothing where it has just been finished."""
    try:
        data = store.get(keys.in_progress(folder.removeprefix(keys.CHECKPOINTS)))
    except ObjectNotFound:
        return
    yield from _references(json.loads(data))


def _newest(found: Iterable[_Found], kind: Kind) -> list[_Found]:
    """Those of that kind, the newest first."""
    return [entry for entry in found if entry.ref.kind is kind][::-1]


def _closure(roots: set[str], found: Mapping[str, _Found]) -> set[str]:
    """The ids of `roots` and of everything that their manifests refer to, step by step."""
    kept: set[str] = set()
    waiting = [artefact_id for artefact_id in roots if artefact_id in found]
    while waiting:
        artefact_id = waiting.pop()
        if artefact_id in kept:
            continue
        kept.add(artefact_id)
        manifest = found[artefact_id].manifest
        for ref in _references([manifest.inputs, manifest.config, manifest.meta]):
            if ref.id in found:
                waiting.append(ref.id)
    return kept


def _references(value: Any) -> Iterator[Ref]:
    if isinstance(value, str):
        try:
            yield Ref.parse(value)
        except SettingsError:
            return
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _references(part)


def _files(store: ObjectStore, entry: _Found) -> Iterator[str]:
    yield keys.manifest(entry.ref.kind, entry.ref.id)
    for file in entry.manifest.files:
        yield file.key
    if entry.ref.kind is Kind.EXTRACTION:
        shards = json.loads(store.get(entry.manifest.file("shards.json").key))["shards"]
        for shard in shards:
            yield from (shard["key"], keys.code_shard_photos(shard["key"]))


def _name(ref: Ref) -> str:
    return f"{ref.kind}/{ref.id}"
