"""Moving what is live: verified publication, and the way back.

In comes the reference of an index snapshot, or of a delta, which stands for the base and the deltas that it follows
(`index.generation`); out goes the live ref that names them and their model release as one generation.
The data gate compares it with what is live (`data_gate`), and every file of both is read at the store and checked
against its digest before the ref moves, so neither half a catalogue nor a damaged artefact becomes live, whatever this
machine's cache holds. The move itself is one compare-and-swap (`live_ref`). Where settings name a search Deployment
it is then rolled to the pair that is live, and both go back where it does not come up. Every step finds out what is
done already, so whoever is killed in the middle is run again. The command line, the flows and the console all publish
and roll back through here.

A roll-back says that a person is at work, so it holds publishing: whoever publishes unattended (flows, and commands
that name no index) gets `PublishingHeld` until somebody resumes. What the roll-back left is never published unattended
again, resumed or not.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lookalike.catalogue.photo_store import is_shard
from lookalike.catalogue.snapshot import first_photo
from lookalike.errors import (
    CorruptObject,
    LostRace,
    ObjectNotFound,
    PublishingHeld,
    RolloutError,
    RolloutRefused,
    SettingsError,
    StorageError,
)
from lookalike.index.generation import Generation, read_generation
from lookalike.progress import Progress, silent
from lookalike.publishing import data_gate, live_ref
from lookalike.publishing.data_gate import DataGateReport
from lookalike.settings import DataGateSettings, RolloutSettings
from lookalike.storage import keys, verification
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.conditions import require_conditional_writes
from lookalike.storage.objects import ObjectStore

if TYPE_CHECKING:
    from lookalike.index.searchable import Photos
    from lookalike.publishing.rollout import SearchDeployment

Replaces = Ref | Literal["anything", "nothing"]
"""What may be live before: any pair, none at all, or a pair of this model release only."""
LONGEST_WHY = 300
"""Characters that are kept of somebody's reason for a roll-back."""
_HOUR = timedelta(hours=1)


def publish_index(
    store: ObjectStore,
    index: Ref,
    *,
    by: str,
    cache_dir: Path,
    replaces: Replaces = "anything",
    attended: bool = False,
    rejected_too: bool = False,
    bounds: DataGateSettings | None = None,
    accept: bool = False,
    told: Callable[[DataGateReport], None] = lambda _: None,
    progress: Progress = silent,
) -> live_ref.LiveRef:
    """Make `index` live, with the model release it was built for. What is live already passes.

    A hold, or a rejection of index or release, stops this with `PublishingHeld`, unless a person who names the index
    publishes it (`attended`) and, for what was rejected, says so (`rejected_too`). The hold stays either way.
    `replaces` guards long work: a re-index that began under one model release must not take back another that was
    published meanwhile. `bounds` of the data gate are the environment's unless given; with `accept` a breach of them
    goes on record instead of stopping the publication; `told` hears what was compared.

    Raises `DataGateError` beyond the bounds; `LostRace` where something else is live than `replaces` says or another
    publisher was first; `CorruptObject` or `ObjectNotFound` naming the file where either artefact is not whole;
    `RolloutError` where a search Deployment could not be rolled to it, `RolloutRefused` after both were taken back.
    """
    require_conditional_writes(store)
    release, deployment = release_of(store, index), _search_deployment()
    expected, generation = live_ref.read_live(store), read_generation(store, index)
    if expected is None or expected.live.tip != index:  # else an earlier attempt got this far
        if said := why_not(
            expected, release, *generation.parts, attended=attended, rejected_too=rejected_too
        ):
            raise PublishingHeld(said)
        _check_replaces(store, replaces, expected)
    if expected is None or expected.live.tip.id != index.id:
        data_gate.guard(
            store,
            index,
            None if expected is None else expected.live.tip,
            bounds or DataGateSettings(),
            by=by,
            accept=accept,
            cache_dir=cache_dir,
            told=told,
        )
    served = () if expected is None else expected.live.refs
    # What has been read when it went live is not read again.
    over_live = bool(generation.deltas) or index in served
    _verify(store, release, index, progress, served=served if over_live else ())
    live = live_ref.publish(
        store,
        release,
        generation.base,
        by=by,
        expected=expected,
        deltas=generation.deltas,
        needs=_made_from(store, generation),
    )
    data_gate.settle(store, index, by=by)
    marks = live.rejected if expected is None else expected.rejected
    _roll_out(deployment, store, live, marks, by=by, cache_dir=cache_dir, progress=progress)
    return live


def why_not(
    live: live_ref.LiveRef | None,
    *artefacts: Ref,
    attended: bool = False,
    rejected_too: bool = False,
) -> str:
    """Why these artefacts must not be published now, or ``""``: a hold, or that a roll-back left one of them."""
    if live is None:
        return ""
    if live.hold is not None and not attended:
        by_name = "`lookalike publish --index ID` publishes one index meanwhile"
        return f"nothing published: {held_words(live.hold)}; {by_name}"
    if not rejected_too and (found := live.rejection(*artefacts)):
        return (
            f"nothing published: {found.ref.kind}/{found.ref.id} was rejected by {_of(found)}; "
            "`lookalike publish --index ID --rejected` publishes it all the same"
        )
    return ""


def held_words(hold: live_ref.Hold) -> str:
    """A hold in words: since when, by whom, why, and what ends it."""
    return f"publishing is held since {_of(hold)}; `lookalike resume` or the console's button ends the hold"


def _of(mark: live_ref.Hold | live_ref.Rejection) -> str:
    """The roll-back that a mark comes from, in words."""
    why = f": {mark.why}" if mark.why else ""
    return f"roll-back #{mark.sequence} ({mark.by}, {mark.at}{why})"


def resume(store: ObjectStore, *, sequence: int | None = None) -> live_ref.LiveRef:
    """End the hold: runs publish again. What was rejected stays so.

    `sequence` is the roll-back whose hold the caller saw; if it is another's by now, `LostRace`. Raises `SettingsError`
    where nothing has been published.
    """
    live = published(store)
    if sequence is not None and live.hold is not None and live.hold.sequence != sequence:
        message = (
            f"{store.uri}: the hold is of roll-back #{live.hold.sequence} by now, not #{sequence}; look again"
        )
        raise LostRace(keys.LIVE_REF, message)
    return live_ref.resume(store, expected=live)


def live_shards(store: ObjectStore) -> int:
    """Segments over which each category of the live index is spread; 1 where nothing is live."""
    live = live_ref.read_live(store)
    return 1 if live is None else int(read_manifest(store, live.live.tip).meta["shards"])


def live_photos(store: ObjectStore) -> Photos:
    """Which photos of a listing the live index has; all where nothing is live, or an index of version 0.1."""
    live = live_ref.read_live(store)
    photos: Photos = (
        "all" if live is None else read_manifest(store, live.live.tip).config.get("photos", "all")
    )
    return photos


def roll_back(
    store: ObjectStore,
    *,
    by: str,
    cache_dir: Path,
    model: bool = False,
    why: str = "",
    from_sequence: int | None = None,
    progress: Progress = silent,
) -> live_ref.LiveRef:
    """Return to the pair that was live before, if it is still whole. A roll-back that was cut short is finished first.

    With `model` return to the model release before the live one, with the newest of its indexes that is whole. Either
    way unattended publishing is held, and what was left is rejected; `why` is kept with both. `from_sequence` is the
    record that the caller saw live; if another is live by now, `LostRace`. Raises `SettingsError` where there is
    nothing to go back to; `ObjectNotFound` or `CorruptObject`, naming the file, where that is not whole;
    `RolloutError` as `publish_index` does.
    """
    live = published(store)
    if from_sequence is not None and live.live.sequence != from_sequence:
        message = f"{store.uri}: #{live.live.sequence} is live by now, not #{from_sequence}; look again"
        raise LostRace(keys.LIVE_REF, message)
    deployment = _search_deployment()
    if deployment and live.live.action == "rollback" and deployment.state().index != str(live.live.index):
        _roll_out(deployment, store, live, live.rejected, by=by, cache_dir=cache_dir, progress=progress)
        return live
    target = _servable(store, live.of_previous_release(), progress) if model else live.before()
    if target is not None and not model:  # where there is none `live_ref.roll_back` says why
        _verify(store, target.release, target.tip, progress)
    needs = () if target is None else _made_from(store, read_generation(store, target.tip))
    live = live_ref.roll_back(store, by=by, expected=live, to=target, why=_one_line(why), needs=needs)
    _roll_out(deployment, store, live, live.rejected, by=by, cache_dir=cache_dir, progress=progress)
    return live


def what_next(store: ObjectStore, live: live_ref.LiveRef) -> str:
    """What a person should know after a roll-back: that publishing is held, and how old the inventory is."""
    hours = (
        datetime.now(UTC) - store.head(keys.manifest(live.live.tip.kind, live.live.tip.id)).modified
    ) / _HOUR
    age = f"{hours * 60:.0f} minutes" if hours < 2 else f"{hours:.0f} hours"
    return (
        f"Publishing is held, and what was left is rejected. The index is {age} old: `lookalike resume` lets the next "
        f"re-index bring it up to date with model release {live.live.release.id}."
    )


def _servable(
    store: ObjectStore, records: Sequence[live_ref.LiveRecord], progress: Progress
) -> live_ref.LiveRecord:
    """The first of `records` whose pair is whole at the store. Raises what is wrong with the first where none is."""
    first: StorageError | None = None
    for tip in dict.fromkeys(record.tip for record in records):
        record = next(record for record in records if record.tip == tip)
        try:
            _verify(store, record.release, record.tip, progress)
        except (ObjectNotFound, CorruptObject) as error:
            first = first or error
        else:
            return record
    if first is None:
        raise SettingsError(
            "nothing to roll back to: no other model release is known that was live and not rejected"
        )
    raise first


def published(store: ObjectStore) -> live_ref.LiveRef:
    """The live ref. Raises `SettingsError` where there is none."""
    live = live_ref.read_live(store)
    if live is None:
        raise SettingsError(
            f"{store.uri}: nothing has been published, so there is nothing to roll back or to resume"
        )
    return live


def _one_line(text: str) -> str:
    """Somebody's words as they can be kept and shown anywhere: one line of UTF-8, not too long."""
    printable = (c if c.isprintable() else " " for c in text.encode(errors="replace").decode())
    return " ".join("".join(printable).split())[:LONGEST_WHY]


def disagreement(store: ObjectStore) -> str | None:
    """What the live ref and the search Deployment's pod template say differently, or None."""
    deployment, live = _search_deployment(), live_ref.read_live(store)
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
    store: ObjectStore,
    release: Ref,
    index: Ref,
    *,
    served: Collection[Ref] = (),
    progress: Progress = silent,
) -> Iterator[StorageError]:
    """What of a generation, and of the curated snapshots whose titles and photos pages show, is not whole at the store.

    `index` is an index snapshot or a delta with all that it follows. Release, base and deltas are read byte by byte,
    since every search pod will fetch them, and so are the base's tables. Of photo shards, which nobody fetches whole,
    presence and size are asked; as they are of the artefacts `served` already, which were read when they went live.
    """
    try:
        parts = read_generation(store, index).parts
    except (ObjectNotFound, CorruptObject) as error:
        yield error
        return
    for ref in (release, *parts):
        whole = whole_by_size if ref in served else lambda name: False
        found = list(verification.damages(store, ref, by_size=whole, progress=progress))
        yield from found
        if ref is release or any(error.key == keys.manifest(ref.kind, ref.id) for error in found):
            continue  # it says which snapshot
        curated = Ref.parse(read_manifest(store, ref).inputs["curated"])
        by_size = is_shard if ref is parts[0] and ref not in served else whole_by_size
        yield from verification.damages(store, curated, by_size=by_size, progress=progress)


def _made_from(store: ObjectStore, generation: Generation) -> list[Ref]:
    """The curated snapshots whose titles and photos a generation shows."""
    return [Ref.parse(read_manifest(store, part).inputs["curated"]) for part in generation.parts]


def whole_by_size(name: str) -> bool:
    """For artefacts of which no search pod fetches a file, or which are served already."""
    return True


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
    from lookalike.publishing.rollout import (
        SearchDeployment,  # the Kubernetes client takes a second to import
    )

    return SearchDeployment(settings)


def _roll_out(
    deployment: SearchDeployment | None,
    store: ObjectStore,
    live: live_ref.LiveRef,
    marks: Sequence[live_ref.Rejection],
    *,
    by: str,
    cache_dir: Path,
    progress: Progress,
) -> None:
    """Roll the search Deployment, if settings name one, to what is live.

    Where it is refused take both back; then `marks` says what is rejected.
    """
    if deployment is None:
        return
    index = live.live.index
    if live.live.deltas and (state := deployment.state()).index == state.confirmed == str(index):
        return  # its pods follow the live ref from delta to delta
    curated = Ref.parse(read_manifest(store, index).inputs["curated"])
    try:
        deployment.roll_out(index, first_photo(store, curated, cache_dir), progress=progress)
    except RolloutRefused as error:
        if not live.history:
            message = f"{error}; nothing was live before, so there is nothing to go back to"
            raise RolloutRefused(message) from error
        previous = live.history[-1]
        live_ref.take_back(store, by=by, expected=live, rejected=marks)
        try:
            deployment.take_back(index, previous.index)
        except RolloutError as second:
            message = f"{error}; the live ref names {previous.index.id} again, but the Deployment does not: {second}"
            raise RolloutError(message) from error
        raise RolloutRefused(f"{error}; taken back: {previous.index.id} is live again") from error


def _check_replaces(store: ObjectStore, replaces: Replaces, expected: live_ref.LiveRef | None) -> None:
    found = None if expected is None else expected.live.release
    if replaces == "anything" or found == (None if replaces == "nothing" else replaces):
        return
    began = "nothing was live" if replaces == "nothing" else f"model release {_id(replaces)} was live"
    now = "nothing" if found is None else f"model release {found.id}"
    message = f"{store.uri}: {began} when this work began, {now} is by now: nothing published; run it again"
    raise LostRace(keys.LIVE_REF, message)


def _id(replaces: Replaces) -> str:
    return replaces.id if isinstance(replaces, Ref) else replaces


def _verify(
    store: ObjectStore, release: Ref, index: Ref, progress: Progress, *, served: Collection[Ref] = ()
) -> None:
    for error in damages(store, release, index, served=served, progress=progress):
        raise error
