"""Moving what is live: verified publication, and the way back.

In comes the reference of an index snapshot; out goes the live ref that names it and its model release as one pair.
Every file of both is read at the store and checked against its digest before the ref moves, so a damaged or
half-removed artefact never becomes live, whatever this machine's cache holds. The move itself is one compare-and-swap
(`storage.refs`). Where settings name a search Deployment it is then rolled to the pair that is live, and both go back
where it does not come up. Every step finds out what is done already, so whoever is killed in the middle is run again.
The command line, the flows and the console all publish and roll back through here.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lookalike.catalogue.snapshot import first_photo, is_shard
from lookalike.errors import LostRace, RolloutError, RolloutRefused, SettingsError, StorageError
from lookalike.progress import Progress, silent
from lookalike.settings import RolloutSettings
from lookalike.storage import keys, refs, verification
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.objects import ObjectStore

if TYPE_CHECKING:
    from lookalike.rollout import SearchDeployment

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
    first; `CorruptObject` or `ObjectNotFound` naming the file where either artefact is not whole; `RolloutError`
    where a search Deployment could not be rolled to it, `RolloutRefused` after both were taken back.
    """
    release, deployment = release_of(store, index), _search_deployment()
    expected = refs.read_live(store)
    if expected is None or expected.live.index != index:  # else an earlier attempt got this far
        _check_replaces(store, replaces, expected)
    _verify(store, release, index, progress)
    live = refs.publish(store, release, index, by=by, expected=expected)
    _roll_out(deployment, store, live, by=by, cache_dir=cache_dir, progress=progress)
    return live


def live_shards(store: ObjectStore) -> int:
    """Segments over which each category of the live index is spread; 1 where nothing is live."""
    live = refs.read_live(store)
    return 1 if live is None else int(read_manifest(store, live.live.index).meta["shards"])


def roll_back(
    store: ObjectStore,
    *,
    by: str,
    cache_dir: Path,
    from_sequence: int | None = None,
    progress: Progress = silent,
) -> refs.LiveRef:
    """Return to the pair that was live before, if it is still whole. A roll-back that was cut short is finished first.

    `from_sequence` is the record that the caller saw live; if another is live by now, `LostRace`. Raises
    `SettingsError` where there is nothing to go back to; `RolloutError` as `publish_index` does.
    """
    live = refs.read_live(store)
    if live is None:
        raise SettingsError(f"{store.uri}: nothing has been published, so there is nothing to roll back")
    if from_sequence is not None and live.live.sequence != from_sequence:
        message = f"{store.uri}: #{live.live.sequence} is live by now, not #{from_sequence}; look again"
        raise LostRace(keys.LIVE_REF, message)
    deployment = _search_deployment()
    if deployment and live.live.action == "rollback" and deployment.state().index != str(live.live.index):
        _roll_out(deployment, store, live, by=by, cache_dir=cache_dir, progress=progress)
        return live
    target = None if live.live.parent is None else live.record(live.live.parent)
    if target is not None:  # `refs.roll_back` says why not
        _verify(store, target.release, target.index, progress)
    live = refs.roll_back(store, by=by, expected=live)
    _roll_out(deployment, store, live, by=by, cache_dir=cache_dir, progress=progress)
    return live


def disagreement(store: ObjectStore) -> str | None:
    """What the live ref and the search Deployment's pod template say differently, or None."""
    deployment, live = _search_deployment(), refs.read_live(store)
    if deployment is None or live is None:
        return None
    named = deployment.state().index
    if named == str(live.live.index):
        return None
    return (
        f"{deployment} serves {named or 'no snapshot by name'}, the live ref names {live.live.index}: "
        "run `lookalike publish --index` with the one that is to be live, or `lookalike rollback`"
    )


def damages(
    store: ObjectStore, release: Ref, index: Ref, *, progress: Progress = silent
) -> Iterator[StorageError]:
    """What of a pair, and of the curated snapshot whose titles and photos pages show, is not whole at the store.

    Release and index are read byte by byte, since every search pod will fetch them, and so are the snapshot's tables.
    Of the photo shards, which nobody fetches whole, presence and size are asked.
    """
    found = list(verification.damages(store, release, progress=progress))
    found += verification.damages(store, index, progress=progress)
    yield from found
    if any(error.key == keys.manifest(index.kind, index.id) for error in found):
        return  # it says which snapshot
    curated = Ref.parse(read_manifest(store, index).inputs["curated"])
    yield from verification.damages(store, curated, by_size=is_shard, progress=progress)


def release_of(store: ObjectStore, index: Ref) -> Ref:
    """The model release that an index snapshot was built for."""
    return Ref.parse(str(read_manifest(store, index).meta["release"]))


def somebody() -> str:
    """Who publishes, for the live ref's record: user and machine."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user id without a name, as in many containers
        return socket.gethostname()


def _search_deployment() -> SearchDeployment | None:
    settings = RolloutSettings()
    if not settings.deployment:
        return None
    from lookalike.rollout import SearchDeployment  # the Kubernetes client takes a second to import

    return SearchDeployment(settings)


def _roll_out(
    deployment: SearchDeployment | None,
    store: ObjectStore,
    live: refs.LiveRef,
    *,
    by: str,
    cache_dir: Path,
    progress: Progress,
) -> None:
    """Roll the search Deployment, if settings name one, to what is live; where it is refused take both back."""
    if deployment is None:
        return
    index = live.live.index
    curated = Ref.parse(read_manifest(store, index).inputs["curated"])
    try:
        deployment.roll_out(index, first_photo(store, curated, cache_dir), progress=progress)
    except RolloutRefused as error:
        if not live.history:
            message = f"{error}; nothing was live before, so there is nothing to go back to"
            raise RolloutRefused(message) from error
        previous = live.history[-1]
        if live.live.action == "rollback":
            refs.publish(store, previous.release, previous.index, by=by, expected=live)
        else:
            refs.roll_back(store, by=by, expected=live)
        try:
            deployment.take_back(index, previous.index)
        except RolloutError as second:
            message = f"{error}; the live ref names {previous.index.id} again, but the Deployment does not: {second}"
            raise RolloutError(message) from error
        raise RolloutRefused(f"{error}; taken back: {previous.index.id} is live again") from error


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


def _verify(store: ObjectStore, release: Ref, index: Ref, progress: Progress) -> None:
    for error in damages(store, release, index, progress=progress):
        raise error
