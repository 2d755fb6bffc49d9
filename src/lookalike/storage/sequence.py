"""In which order the artefacts of a kind were finished: by numbers, not by times.

Times cannot say it. A copy of a bucket has the times of copying, a restored version that of its restoration, and each
machine that writes to a shared folder has a clock of its own. So a step that finishes an artefact, or finds it
finished, gives it the next number: the name of an empty object beside its manifest, which holds neither times nor
places. Artefacts without one, of stores of version 0.2.0 and before, are older than all others, and among themselves
in the order of their times. Two that finish at the same moment may have the same number; then, too, the times decide.
"""

from __future__ import annotations

from collections.abc import Iterable

from lookalike.storage import keys
from lookalike.storage.objects import ObjectInfo, ObjectStore


def manifests(objects: Iterable[ObjectInfo]) -> list[ObjectInfo]:
    """The manifests among all objects of one kind; that of the newest artefact is the last."""
    listed = list(objects)
    numbers = _numbers(listed)
    found = [info for info in listed if info.key.endswith("/" + keys.MANIFEST)]
    return sorted(found, key=lambda info: (numbers.get(keys.folder(info.key), 0), info.modified, info.key))


def make_newest(store: ObjectStore, kind: str, artefact_id: str) -> None:
    """Give an artefact the next number of its kind, unless it has the highest already."""
    numbers = _numbers(store.list(f"{kind}/"))
    own = numbers.pop(keys.artefact(kind, artefact_id), 0)
    others = max(numbers.values(), default=0)
    if own > others:
        return
    store.put(keys.sequence(kind, artefact_id, others + 1), b"")
    if own:
        store.delete(keys.sequence(kind, artefact_id, own))


def _numbers(objects: Iterable[ObjectInfo]) -> dict[str, int]:
    """Folder of an artefact -> its highest number."""
    numbers: dict[str, int] = {}
    for info in objects:
        if (number := keys.sequence_number(info.key)) is not None:
            folder = keys.folder(info.key)
            numbers[folder] = max(number, numbers.get(folder, 0))
    return numbers
