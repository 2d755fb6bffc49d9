"""What a process that was killed leaves beside its work: temporary files, folders of a step, uploads in parts.

None of it is visible to anybody, and none is needed: a step that is run again begins a folder or an upload of its own.
It only takes room, so retention removes what is older than its grace. A bucket's lifecycle rule does the same for
uploads without our help (docs/operations.md).
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from lookalike.errors import AccessDenied
from lookalike.storage.objects import ObjectStore

FOLDERS = ("curate-", "refused-", "delta-", "index-")
"""How folders of a step begin, in a cache."""


@runtime_checkable
class LeavesOver(Protocol):
    """A store that knows of what was begun in it and not finished."""

    def remove_unfinished(self, before: datetime) -> int:
        """Remove what was begun before that time and never became an object; how many."""


def remove(store: ObjectStore, cache_dir: Path, before: datetime) -> int:
    """Remove what was last written before that time, in the store and in a cache; how many files, folders, uploads."""
    removed = 0
    if isinstance(store, LeavesOver):
        with contextlib.suppress(AccessDenied):  # then it is the bucket's lifecycle that does it
            removed = store.remove_unfinished(before)
    for folder in _folders(cache_dir):
        if _newest(folder) < before.timestamp():
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _folders(cache_dir: Path) -> Iterator[Path]:
    if cache_dir.is_dir():
        yield from (path for path in cache_dir.iterdir() if path.name.startswith(FOLDERS) and path.is_dir())


def _newest(folder: Path) -> float:
    """When anything below it was written last: a step of days still writes now and then."""
    times = [folder.stat().st_mtime]
    for path in folder.rglob("*"):
        try:
            times.append(path.lstat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times)
