"""Moves a running process to a newer index snapshot while queries go on.

Queries borrow the snapshot; a swap is seen by the next borrower. The snapshot before is closed by whoever returns it
last, so that its maps are gone, and its files may be, as soon as nobody reads them, and never before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lookalike.index.reader import IndexSnapshot


class SnapshotSwitch:
    """Holds the snapshot in use. Safe to use from several threads."""

    def __init__(self, snapshot: IndexSnapshot) -> None:
        self._lock = threading.Lock()
        self._current = snapshot
        self._borrowers: dict[IndexSnapshot, int] = {snapshot: 0}

    @contextmanager
    def borrow(self) -> Iterator[IndexSnapshot]:
        """The snapshot in use, which stays open for the length of the block. Keep no partition beyond it."""
        with self._lock:
            snapshot = self._current
            self._borrowers[snapshot] += 1
        try:
            yield snapshot
        finally:
            with self._lock:
                self._borrowers[snapshot] -= 1
                idle = self._retire(snapshot)
            if idle:
                snapshot.close()

    def swap(self, newer: IndexSnapshot) -> None:
        """Use `newer` from now on. Warm it first (`prefetch`), or the next queries wait for the disk."""
        with self._lock:
            older, self._current = self._current, newer
            self._borrowers.setdefault(newer, 0)
            idle = self._retire(older)
        if idle:
            older.close()

    def _retire(self, snapshot: IndexSnapshot) -> bool:
        """Forget a snapshot that is out of use and that nobody borrows; whether it was one."""
        if snapshot is self._current or self._borrowers.get(snapshot, 1):
            return False
        del self._borrowers[snapshot]
        return True
