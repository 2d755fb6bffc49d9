"""The live ref: the one mutable object, which says what search pods serve.

`refs/live.json` names a generation: a model release, an index snapshot built for it (the base), and the deltas over it,
oldest first. It carries the records before it, so that publishing and rolling back are each one compare-and-swap of
one object. A record's `parent` is the record that a roll-back returns to.

Beside the records stand the *hold*, which keeps publishers that nobody watches from moving the ref, and the
*rejected* artefacts, which they must never publish again. A roll-back writes both in the swap that moves the ref, so
neither can be lost. What follows from them is for `lookalike.publishing.publication` to say; here they are only kept.

Beside them stands what retention is *removing*. It says so by the same compare-and-swap before it removes anything, and
a publisher that needs any of it is refused. So of a publication and a removal that overlap one knows of the other.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Literal

from lookalike.errors import CorruptObject, LostRace, ObjectNotFound, OutcomeUnknown, SettingsError
from lookalike.index.generation import Generation
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref
from lookalike.storage.objects import ObjectStore
from lookalike.strict_json import plain

FORMAT = 1
_REMEMBERED = 40
"""Records: more than retention keeps of a day of hourly re-indexes. With eight deltas each has 1.2 kB, and every pod
fetches all of them whenever the ref moves."""
_RELEASES_REMEMBERED = 5
"""Of so many model releases the last record is remembered, however many moves of the index came after it."""


@dataclass(frozen=True, slots=True)
class LiveRecord:
    """What was made live, by whom and when (UTC, ISO 8601). `sequence` counts up by one with every move."""

    sequence: int
    release: Ref
    index: Ref
    action: Literal["publish", "rollback"]
    at: str
    by: str
    parent: int | None
    deltas: tuple[Ref, ...] = ()
    """Over the base, which is `index`; oldest first."""

    @property
    def tip(self) -> Ref:
        """What names base and deltas together: the last delta, or else the base."""
        return Generation(self.index, self.deltas).tip

    @property
    def refs(self) -> tuple[Ref, ...]:
        """Everything that it names."""
        return (self.release, self.index, *self.deltas)

    def to_json(self) -> dict[str, object]:
        body = asdict(self) | {"release": str(self.release), "index": str(self.index)}
        del body["deltas"]
        deltas = [str(ref) for ref in self.deltas]
        return body | ({"deltas": deltas} if deltas else {})


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is published unattended: the roll-back (its record's `sequence`), when, by whom, in which words."""

    sequence: int
    at: str
    by: str
    why: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """What a roll-back left, and its record: an index snapshot, a delta, or a model release with all its indexes."""

    ref: Ref
    sequence: int
    at: str
    by: str
    why: str

    def marks(self, *refs: Ref) -> bool:
        """Whether it is one of `refs`: by id, since a manifest that is written anew may have another digest."""
        return any((self.ref.kind, self.ref.id) == (ref.kind, ref.id) for ref in refs)

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"ref": str(self.ref)}


@dataclass(frozen=True, slots=True)
class LiveRef:
    """The live record, those before it (newest last), the etag that a move must match, the hold, the rejected, and the
    names (``kind/id``) of what retention is removing."""

    live: LiveRecord
    history: tuple[LiveRecord, ...]
    etag: str
    hold: Hold | None = None
    rejected: tuple[Rejection, ...] = ()
    removing: tuple[str, ...] = ()

    def record(self, sequence: int) -> LiveRecord | None:
        return next((r for r in self.history if r.sequence == sequence), None)

    def rejection(self, *refs: Ref) -> Rejection | None:
        """Why one of `refs` is not to be published unattended."""
        return next((found for found in self.rejected if found.marks(*refs)), None)

    def before(self) -> LiveRecord | None:
        """Where a roll-back returns to: what was live before the live record was published."""
        return None if self.live.parent is None else self.record(self.live.parent)

    def of_previous_release(self) -> tuple[LiveRecord, ...]:
        """Where a roll-back of the model may return to, newest first: records of the model release before this one.

        Rejected releases and indexes are passed over.
        """
        found: list[LiveRecord] = []
        for record in reversed(self.history):
            if record.release == self.live.release or self.rejection(*record.refs):
                continue
            if not found or record.release == found[0].release:
                found.append(record)
        return tuple(found)


def read_live(store: ObjectStore) -> LiveRef | None:
    """The live ref, or None where nothing has been published. Raises `CorruptObject`."""
    try:
        data, etag = store.get_with_etag(keys.LIVE_REF)
    except ObjectNotFound:
        return None
    try:
        body = json.loads(data)
        if body.get("format", FORMAT) != FORMAT:
            raise ValueError(f"format {body['format']}, this version reads {FORMAT}: update it")
        records = [_record(entry) for entry in body["records"]]
        hold = body.get("hold")  # versions before the hold write neither this nor the next
        return LiveRef(
            records[-1],
            tuple(records[:-1]),
            etag,
            None if hold is None else Hold(**_known(Hold, hold)),
            tuple(_rejection(entry) for entry in body.get("rejected", ())),
            tuple(str(name) for name in body.get("removing", ())),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, SettingsError) as error:
        raise CorruptObject(
            keys.LIVE_REF, f"{store.uri}/{keys.LIVE_REF} is not a live ref: {error}"
        ) from error


def publish(
    store: ObjectStore,
    release: Ref,
    index: Ref,
    *,
    by: str,
    expected: LiveRef | None,
    deltas: tuple[Ref, ...] = (),
    needs: Collection[Ref] = (),
) -> LiveRef:
    """Make the generation live, if the live ref is still the one that was read (`expected`).

    The hold stays; nothing of it is rejected any more. Publishing what is live already changes nothing. Raises
    `LostRace` where another publisher was first, or retention is removing what is named or `needs` names.
    """
    if expected and expected.live.refs == (release, index, *deltas):
        return expected
    parent = expected.live.sequence if expected else None
    record = _next(expected, (release, index, *deltas), "publish", by, parent)
    left = () if expected is None else expected.rejected
    rejected = tuple(found for found in left if not found.marks(*record.refs))
    hold = None if expected is None else expected.hold
    return _move(store, expected, record, hold, rejected, needs)


def roll_back(
    store: ObjectStore,
    *,
    by: str,
    expected: LiveRef,
    to: LiveRecord | None = None,
    why: str = "",
    needs: Collection[Ref] = (),
) -> LiveRef:
    """Return to the record before the live one, or to the remembered record `to`; hold, and reject what was left.

    The last delta is rejected, or else the index snapshot, and so is its model release where the way back leaves that,
    too. Raises `SettingsError` where no record before is known; `LostRace` as `publish`.
    """
    target = to or expected.before()
    if target is None and expected.live.parent is not None:
        raise SettingsError(
            f"nothing to roll back to: record #{expected.live.parent} is no longer remembered"
        )
    if target is None:
        raise SettingsError("nothing to roll back to: the live snapshot is the first that was published")
    record = _next(expected, target.refs, "rollback", by, target.parent)
    left = [expected.live.tip]
    if expected.live.release != target.release:
        left.append(expected.live.release)
    kept = [found for found in expected.rejected if not found.marks(*left, *target.refs)]
    marks = (Rejection(ref, record.sequence, record.at, by, why) for ref in left)
    hold = Hold(record.sequence, record.at, by, why)
    return _move(store, expected, record, hold, (*kept, *marks), needs)


def take_back(store: ObjectStore, *, by: str, expected: LiveRef, rejected: Sequence[Rejection]) -> LiveRef:
    """Undo the last move, which did not come up: the pair before is live again, with `rejected` from before the move.

    A hold stays: whoever rolled back has not yet got what they wanted. What they left is no longer rejected.
    """
    previous = expected.history[-1]
    if expected.live.action == "rollback":
        rejected = [found for found in rejected if not found.marks(*previous.refs)]
        record = _next(expected, previous.refs, "publish", by, expected.live.sequence)
    else:
        record = _next(expected, previous.refs, "rollback", by, previous.parent)
    return _move(store, expected, record, expected.hold, rejected)


def resume(store: ObjectStore, *, expected: LiveRef) -> LiveRef:
    """End the hold. What was rejected stays so. Where nothing is held nothing is written."""
    if expected.hold is None:
        return expected
    records = (*expected.history, expected.live)
    return _write(store, expected, records, None, expected.rejected, expected.removing)


def remove(store: ObjectStore, *, expected: LiveRef, names: tuple[str, ...]) -> LiveRef:
    """Say what is going to be removed (``kind/id``): nobody can publish it from now on. Raises `LostRace`."""
    return _write(
        store, expected, (*expected.history, expected.live), expected.hold, expected.rejected, names
    )


def removed(store: ObjectStore, names: tuple[str, ...]) -> None:
    """Take back what `remove` said, whatever else has been moved meanwhile."""
    while names and (live := read_live(store)) is not None and live.removing == names:
        with contextlib.suppress(LostRace):
            _write(store, live, (*live.history, live.live), live.hold, live.rejected, ())


def _next(
    expected: LiveRef | None,
    refs: tuple[Ref, ...],
    action: Literal["publish", "rollback"],
    by: str,
    parent: int | None,
) -> LiveRecord:
    sequence = expected.live.sequence + 1 if expected else 1
    release, index, *deltas = refs
    return LiveRecord(sequence, release, index, action, _now(), by, parent, tuple(deltas))


def _move(
    store: ObjectStore,
    expected: LiveRef | None,
    record: LiveRecord,
    hold: Hold | None,
    rejected: Sequence[Rejection],
    needs: Collection[Ref] = (),
) -> LiveRef:
    """Write a new record. A removal that began meanwhile is no other move, but may be of what the record needs."""
    history = _remembered((*expected.history, expected.live), rejected) if expected else ()
    names = {f"{ref.kind}/{ref.id}" for ref in (*record.refs, *needs)}
    while True:
        if expected and (lost := names.intersection(expected.removing)):
            message = (
                f"{store.uri}: retention is removing {min(lost)}; run `lookalike retain`, then make it anew"
            )
            raise LostRace(keys.LIVE_REF, message)
        removing = expected.removing if expected else ()
        try:
            return _write(store, expected, (*history, record), hold, rejected, removing)
        except LostRace:
            now = read_live(store)
            if now is None or expected is None or now.removing == expected.removing:
                raise
            if replace(now, etag="", removing=()) != replace(expected, etag="", removing=()):
                raise
            expected = now


def _remembered(records: Sequence[LiveRecord], rejected: Sequence[Rejection]) -> tuple[LiveRecord, ...]:
    """The last records, and with them the last good one of each of the last model releases."""
    last: dict[Ref, LiveRecord] = {}
    for record in reversed(records):
        if not any(found.marks(*record.refs) for found in rejected):
            last.setdefault(record.release, record)
    kept = {
        record.sequence for record in [*records[-_REMEMBERED:], *list(last.values())[:_RELEASES_REMEMBERED]]
    }
    return tuple(record for record in records if record.sequence in kept)


def _write(
    store: ObjectStore,
    expected: LiveRef | None,
    records: tuple[LiveRecord, ...],
    hold: Hold | None,
    rejected: Sequence[Rejection],
    removing: tuple[str, ...],
) -> LiveRef:
    wanted = LiveRef(records[-1], records[:-1], "", hold, tuple(rejected), removing)
    lost = f"{store.uri}: another publisher moved the live ref first; look at it and publish again"
    try:
        etag = store.put(
            keys.LIVE_REF,
            _to_bytes(records, hold, rejected, removing),
            if_absent=expected is None,
            if_match=expected.etag if expected else None,
        )
    except OutcomeUnknown as error:
        found = read_live(store)
        if found is not None and replace(found, etag="") == wanted:
            return found
        if found is not None and (expected is None or found.etag != expected.etag):
            raise LostRace(keys.LIVE_REF, lost) from error
        raise  # not there yet, but it may still arrive
    except LostRace as error:
        raise LostRace(keys.LIVE_REF, lost) from error
    return replace(wanted, etag=etag)


def _to_bytes(
    records: Iterable[LiveRecord],
    hold: Hold | None,
    rejected: Iterable[Rejection],
    removing: Sequence[str] = (),
) -> bytes:
    body: dict[str, Any] = {"format": FORMAT, "records": [record.to_json() for record in records]}
    body |= {"hold": hold and asdict(hold), "rejected": [found.to_json() for found in rejected]}
    body |= {"removing": list(removing)} if removing else {}
    return json.dumps(plain(body), indent=1, allow_nan=False).encode() + b"\n"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _record(entry: dict[str, Any]) -> LiveRecord:
    found = _known(LiveRecord, {"deltas": [], **entry})  # versions before deltas write none
    found["deltas"] = tuple(Ref.parse(str(text)) for text in found["deltas"])
    found["release"] = Ref.parse(str(entry["release"]))
    found["index"] = Ref.parse(str(entry["index"]))
    return LiveRecord(**found)


def _rejection(entry: dict[str, Any]) -> Rejection:
    return Rejection(**_known(Rejection, entry) | {"ref": Ref.parse(str(entry["ref"]))})


def _known(kind: type, entry: dict[str, Any]) -> dict[str, Any]:
    """The fields of `kind` in an entry; a later version may have written more."""
    return {field.name: entry[field.name] for field in fields(kind)}


def restore(
    store: ObjectStore, release: Ref, index: Ref, *, by: str, sequence: int, etag: str, why: str
) -> LiveRef:
    """Write a live ref of one record over the bytes of that `etag`, which are none, and hold publishing.

    Raises `LostRace` where somebody else has written meanwhile.
    """
    at = _now()
    record = LiveRecord(sequence, release, index, "publish", at, by, None)
    hold = Hold(sequence, at, by, why)
    written = store.put(keys.LIVE_REF, _to_bytes((record,), hold, ()), if_match=etag)
    return LiveRef(record, (), written, hold)
