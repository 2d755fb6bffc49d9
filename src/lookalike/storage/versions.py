"""What a bucket with versions keeps of objects that were replaced or removed: bytes that are paid for and not listed.

Nothing here removes them: they are what a bucket has versions for, and its lifecycle says for how long
(docs/operations.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from lookalike.errors import AccessDenied
from lookalike.storage.objects import ObjectStore


@dataclass(frozen=True, slots=True)
class OldVersions:
    """All versions of a store's objects but the current ones."""

    count: int
    bytes: int


@runtime_checkable
class KeepsVersions(Protocol):
    """A store that may keep old versions."""

    def old_versions(self) -> OldVersions | None:
        """What it keeps; None where it keeps none, now and before. Raises `StorageError`."""


def old_versions(store: ObjectStore) -> tuple[OldVersions | None, str]:
    """What `store` keeps, if anything, and why that is not known, or ``""``."""
    if not isinstance(store, KeepsVersions):
        return None, ""
    try:
        return store.old_versions(), ""
    except AccessDenied:
        return None, "these credentials may not list old versions (s3:ListBucketVersions)"
