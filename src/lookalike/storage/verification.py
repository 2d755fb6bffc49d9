"""Whether an artefact is whole at its store, read there and not from any cache.

What another machine will fetch is what the store holds now. A copy on this machine's disk says nothing about that: the
object may have been removed or damaged since it was copied. So every byte is read from the store again, in pieces that
fit in memory, and its SHA-256 compared with the manifest's. No checksum that an S3 server keeps would do instead:
servers differ in which they keep, and an ETag is no digest of an object that was uploaded in parts.

In comes a reference; out goes nothing, or the errors that name each file which is missing or damaged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

from lookalike.ahead import ahead
from lookalike.errors import CorruptObject, ObjectNotFound, StorageError
from lookalike.progress import Progress, silent
from lookalike.storage.artefacts import FileEntry, Ref, read_manifest
from lookalike.storage.objects import ObjectStore

PIECE = 8 << 20
"""Bytes of one read."""
_READERS = 4
"""Pieces of a file read at once: one connection to an S3 server is slower than hashing."""


def damages(
    store: ObjectStore,
    ref: Ref,
    *,
    by_size: Callable[[str], bool] = lambda name: False,
    progress: Progress = silent,
) -> Iterator[StorageError]:
    """An `ObjectNotFound` or `CorruptObject` for the manifest, or else for each file that is not what it says.

    Of files whose name `by_size` picks only presence and size are asked. A store that cannot be asked says nothing
    about the artefact: `StoreUnavailable` is raised.
    """
    try:
        files = read_manifest(store, ref).files
    except (ObjectNotFound, CorruptObject) as error:
        yield error
        return
    for done, entry in enumerate(files, 1):
        try:
            (check_size if by_size(entry.name) else check_bytes)(store, entry)
        except (ObjectNotFound, CorruptObject) as error:
            yield error
        progress("verify", done, len(files), entry.key)


def check_bytes(store: ObjectStore, entry: FileEntry) -> None:
    """Read one file of an artefact at the store. Raises `ObjectNotFound` or `CorruptObject`, which name it."""
    check_size(store, entry)
    digest = hashlib.sha256()
    pieces = ahead(
        lambda start: store.get(entry.key, start=start, length=PIECE),
        range(0, entry.size, PIECE),
        threads=_READERS,
        depth=_READERS,
        name="verify",
    )
    for piece in pieces:
        digest.update(piece)
    if digest.hexdigest() != entry.sha256:
        raise CorruptObject(entry.key, f"{store.uri}/{entry.key} does not match its digest: it is damaged")


def check_size(store: ObjectStore, entry: FileEntry) -> None:
    """Ask the store whether one file is there and as long as it was. Raises as `check_bytes`."""
    size = store.head(entry.key).size
    if size != entry.size:
        message = f"{store.uri}/{entry.key} has {size:,} bytes; its manifest says {entry.size:,}"
        raise CorruptObject(entry.key, message)
