"""Files that a process has fetched, and which of them it still needs.

Enters: references to artefacts, and later those artefacts that stay. Leaves: fetched artefacts. A copy is known from
the moment it lies on the disk, so what was fetched for a snapshot that could not be opened is removed, too. Files of a
store on this machine are used where they lie; they are the store's, and never removed. A file is fetched and compared
with its digest once, and a manifest read once, for as long as they stay: the next generation shares most with the one
before.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lookalike.storage import leftovers
from lookalike.storage.artefacts import Artefact, FileEntry, Manifest, Ref, fetch_file, read_manifest
from lookalike.storage.objects import ObjectStore


class Copies:
    """The copies that one process has below `cache_dir`. Used by the thread that loads snapshots."""

    def __init__(self, store: ObjectStore, cache_dir: Path) -> None:
        self.store, self.cache_dir = store, cache_dir
        self._paths: set[Path] = set()
        self._known: dict[FileEntry, Path] = {}
        self._manifests: dict[Ref, Manifest] = {}

    def fetch(self, ref: Ref, names: Iterable[str] | None = None) -> Artefact:
        """All files of an artefact, or just `names`, as `storage.artefacts.fetch` has them. Raises what that raises."""
        manifest = self._manifests.get(ref) or read_manifest(self.store, ref)
        self._manifests[ref] = manifest
        paths = {}
        for entry in manifest.files if names is None else [manifest.file(name) for name in names]:
            known = self._known.get(entry)
            if known is not None and known.exists():  # retention removes copies that were not used for long
                if known in self._paths:
                    leftovers.used(known)
                paths[entry.name] = known
                continue
            path = paths[entry.name] = fetch_file(self.store, entry, self.cache_dir)
            self._known[entry] = path
            if self.store.local_path(entry.key) is None:
                self._paths.add(path)
        return Artefact(ref, manifest, paths)

    def keep(self, artefacts: Iterable[Artefact]) -> None:
        """Remove the copies that belong to none of `artefacts`; maps that are still open stay valid."""
        artefacts = list(artefacts)
        kept = {path for artefact in artefacts for path in artefact.paths.values()}
        for path in self._paths - kept:
            path.unlink(missing_ok=True)
        self._paths &= kept
        self._manifests = {artefact.ref: artefact.manifest for artefact in artefacts}
        self._known = {entry: path for entry, path in self._known.items() if path in kept}
