"""Moving what is live: verified publication, and the way back.

In comes the reference of an index snapshot; out goes the live ref that names it and its model release as one pair.
Every file of both is fetched and checked against its digest before the ref moves, so a damaged or half-removed
artefact never becomes live; the move itself is one compare-and-swap (`storage.refs`). The command line, the flows and
the console all publish and roll back through here.
"""

from __future__ import annotations

import getpass
import socket
from pathlib import Path
from typing import Literal

from lookalike.errors import CorruptObject, LostRace, SettingsError
from lookalike.progress import Progress, silent
from lookalike.storage import keys, refs
from lookalike.storage.artefacts import Ref, fetch, read_manifest
from lookalike.storage.objects import ObjectStore

Replaces = Ref | Literal["anything", "nothing"]
"""What may be live before: any pair, none at all, or a pair of this model release only."""


def publish_index(
    store: ObjectStore,
    index: Ref,
    *,
    by: str,
    cache_dir: Path,
    replaces: Replaces = "anything",
    progress: Progress = silent,
) -> refs.LiveRef:
    """Make `index` live, with the model release it was built for.

    `replaces` guards long work: a re-index that began under one model release must not take back another that was
    published meanwhile. Raises `LostRace` where something else is live than `replaces` says or another publisher was
    first; `CorruptObject` or `ObjectNotFound` naming the file where either artefact is not whole.
    """
    release = release_of(store, index)
    expected = refs.read_live(store)
    _check_replaces(store, replaces, expected)
    _verify(store, release, index, cache_dir, progress)
    return refs.publish(store, release, index, by=by, expected=expected)


def roll_back(
    store: ObjectStore,
    *,
    by: str,
    cache_dir: Path,
    from_sequence: int | None = None,
    progress: Progress = silent,
) -> refs.LiveRef:
    """Return to the pair that was live before, if it is still whole.

    `from_sequence` is the record that the caller saw live; if another is live by now, `LostRace`. Raises
    `SettingsError` where there is nothing to go back to.
    """
    live = refs.read_live(store)
    if live is None:
        raise SettingsError(f"{store.uri}: nothing has been published, so there is nothing to roll back")
    if from_sequence is not None and live.live.sequence != from_sequence:
        message = f"{store.uri}: #{live.live.sequence} is live by now, not #{from_sequence}; look again"
        raise LostRace(keys.LIVE_REF, message)
    target = None if live.live.parent is None else live.record(live.live.parent)
    if target is not None:  # `refs.roll_back` says why not
        _verify(store, target.release, target.index, cache_dir, progress)
    return refs.roll_back(store, by=by, expected=live)


def release_of(store: ObjectStore, index: Ref) -> Ref:
    """The model release that an index snapshot was built for."""
    return Ref.parse(str(read_manifest(store, index).meta["release"]))


def somebody() -> str:
    """Who publishes, for the live ref's record: user and machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return socket.gethostname()


def _check_replaces(store: ObjectStore, replaces: Replaces, expected: refs.LiveRef | None) -> None:
    found = None if expected is None else expected.live.release
    if replaces == "anything" or found == (None if replaces == "nothing" else replaces):
        return
    began = "nothing was live" if replaces == "nothing" else f"model release {_id(replaces)} was live"
    now = "nothing" if found is None else f"model release {found.id}"
    message = f"{store.uri}: {began} when this work began, {now} is by now: nothing published; run it again"
    raise LostRace(keys.LIVE_REF, message)


def _id(replaces: Replaces) -> str:
    return replaces.id if isinstance(replaces, Ref) else replaces


def _verify(store: ObjectStore, release: Ref, index: Ref, cache_dir: Path, progress: Progress) -> None:
    """Release and index byte by byte; of the curated snapshot, whose photos pages show, that every file is there."""
    for done, ref in enumerate((release, index), 1):
        fetch(store, ref, cache_dir)
        progress("verify", done, 3, f"{ref.kind}/{ref.id}")
    curated = Ref.parse(read_manifest(store, index).inputs["curated"])
    for file in read_manifest(store, curated).files:
        if (size := store.head(file.key).size) != file.size:
            message = f"{store.uri}/{file.key} has {size:,} bytes; its manifest says {file.size:,}"
            raise CorruptObject(file.key, message)
    progress("verify", 3, 3, f"{curated.kind}/{curated.id}")
