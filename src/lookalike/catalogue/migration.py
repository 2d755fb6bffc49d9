"""Migration of photos: those in the shards of version 0.1 become known to the photo log, where they lie.

Enters: a store with curated snapshots that have shards of their own. Leaves: rows of the log that point into these
shards; nothing is copied, and the snapshots stay as they are. The next curation reads each photo once, to know it by
its version from then on, and neither decodes nor stores again what was migrated. A photo that 0.1 shrank is left to
that curation: it may have lost the colours that its profile means. Run again, it finds its work done.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lookalike.catalogue.lots import described, in_order
from lookalike.catalogue.photo_log import PhotoLog
from lookalike.catalogue.photo_store import is_shard
from lookalike.catalogue.rules import CurationConfig
from lookalike.catalogue.snapshot import CuratedSnapshot
from lookalike.errors import CorruptObject, ObjectNotFound, PhotoError
from lookalike.imaging.limits import PhotoLimits
from lookalike.imaging.photos import prepare
from lookalike.progress import Progress, silent
from lookalike.settings import available_cores
from lookalike.storage import keys
from lookalike.storage.artefacts import FileEntry, Kind, Manifest, Ref
from lookalike.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration found: snapshots with shards of their own, and photos in them."""

    snapshots: int
    added: int
    """Photos that the log knows from now on."""
    known: int
    """Photos that it knew already."""
    left: int
    """Photos that were shrunk, or cannot be decoded: the next curation reads and decodes them."""


def migrate(store: ObjectStore, *, cache_dir: Path, progress: Progress = silent) -> Migrated:
    """Take the photos of all old snapshots into the log. Raises `StorageError`, `CorruptObject` for a damaged shard."""
    snapshots = added = known = left = 0
    for ref, manifest in _old_snapshots(store):
        snapshots += 1
        config = _config(manifest.config)
        log = PhotoLog.open(store, cache_dir, config)
        snapshot = CuratedSnapshot.open(store, ref, cache_dir)
        rows = snapshot.photos.to_pylist()
        at = log.rows_of([row["photo_id"] for row in rows]).to_pylist()
        new = [row for row, place in zip(rows, at, strict=True) if place is None]
        known += len(rows) - len(new)

        def describe(
            row: dict[str, Any], snapshot: CuratedSnapshot = snapshot, config: CurationConfig = config
        ) -> Any:
            data = snapshot.photo_bytes(row["photo_id"])
            if hashlib.md5(data, usedforsecurity=False).hexdigest() != row["photo_id"]:
                return None
            try:
                photo = prepare(
                    data, keep_side=config.keep_side, shrunk_side=config.shrunk_side, limits=config.limits
                )
            except PhotoError:
                return None
            return described(photo) if photo.stored == data else None

        found = []
        for done, (row, description) in enumerate(in_order(describe, new, available_cores()), 1):
            if description is None:
                left += 1
            else:
                found.append(_row(row, manifest.file(f"photos-{row['shard']:05d}.tar")) | description)
            progress("migrate photos", done, len(new), f"{ref.kind}/{ref.id}")
        log.add(found, [])
        added += len(found)
    return Migrated(snapshots, added, known, left)


def _old_snapshots(store: ObjectStore) -> Iterator[tuple[Ref, Manifest]]:
    prefix = f"{Kind.CURATED.value}/"
    for info in list(store.list(prefix)):
        if not info.key.endswith("/" + keys.MANIFEST):
            continue
        try:
            data = store.get(info.key)
        except ObjectNotFound:  # removed while we looked
            continue
        manifest = Manifest.from_bytes(data, info.key)
        if any(is_shard(entry.name) and entry.key.startswith(prefix) for entry in manifest.files):
            yield Ref(manifest.kind, manifest.id, hashlib.sha256(data).hexdigest()), manifest


def _config(kept: Mapping[str, Any]) -> CurationConfig:
    """How a snapshot's photos were stored; defaults where it does not say."""
    sides = {name: kept[name] for name in ("keep_side", "shrunk_side") if name in kept}
    try:
        return CurationConfig(limits=PhotoLimits(**kept.get("limits", {})), **sides)
    except TypeError as error:
        raise CorruptObject("limits", f"a snapshot's limits are not understood: {error}") from error


def _row(row: Mapping[str, Any], shard: FileEntry) -> dict[str, Any]:
    place = {name: row[name] for name in ("photo_id", "offset", "length")}
    return place | {"pack": shard.key, "pack_sha256": shard.sha256, "pack_size": shard.size}
