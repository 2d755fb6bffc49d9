"""What a process that was killed leaves beside its work: temporary files, folders of a step, uploads in parts.

None of it is visible to anybody, and none is needed: a step that is run again begins a folder or an upload of its own.
It only takes room, so retention removes what is older than its grace. A bucket's lifecycle rule does the same for
uploads without our help (docs/operations.md).

A machine that lives for months also gathers copies of objects in its cache. Each has the time of its last use, and one
that was not used for long goes. Whoever maps such a file keeps it; whoever wants it again fetches it again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

from lookalike.errors import AccessDenied
from lookalike.storage.objects import ObjectStore

FOLDERS = ("curate-", "refused-", "delta-", "index-")
"""How folders of a step begin, in a cache."""
COPIES = ("codes", "curated", "deltas", "extractions", "index", "photos", "releases", "squares")
"""Folders of a cache that hold copies of objects, by their keys, and decoded photos."""
_OF_A_STORE = (".lookalike", "refs")


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


def used(path: Path) -> None:
    """Note that a copy in a cache is used now."""
    with contextlib.suppress(OSError):  # gone meanwhile, or not ours to touch
        os.utime(path)


def remove_unused(cache_dir: Path, before: datetime) -> int:
    """Remove copies in a cache that were not used since then; how many bytes. A folder that is a store keeps all."""
    if any((cache_dir / name).exists() for name in _OF_A_STORE):
        return 0
    removed = 0
    for path in [path for name in COPIES for path in (cache_dir / name).rglob("*")]:
        with contextlib.suppress(OSError):  # another process removed it
            found = path.lstat()
            if stat.S_ISREG(found.st_mode) and found.st_mtime < before.timestamp():
                path.unlink()
                removed += found.st_size
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
