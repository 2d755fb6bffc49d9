"""The live ref: the one mutable object, which says what search pods serve.

`refs/live.json` names a model release and an index snapshot built for it, and carries the records before it, so
that publishing and rolling back are each one compare-and-swap of one object. A record's `parent` is the record
that a roll-back returns to.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Literal

from lookalike.errors import CorruptObject, LostRace, ObjectNotFound, OutcomeUnknown, SettingsError
from lookalike.storage import keys
from lookalike.storage.artefacts import Ref
from lookalike.storage.objects import ObjectStore
from lookalike.strict_json import plain

_REMEMBERED = 100


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

    def to_json(self) -> dict[str, object]:
        return asdict(self) | {"release": str(self.release), "index": str(self.index)}


@dataclass(frozen=True, slots=True)
class LiveRef:
    """The live record, those before it (newest last), and the etag that a move must match."""

    live: LiveRecord
    history: tuple[LiveRecord, ...]
    etag: str

    def record(self, sequence: int) -> LiveRecord | None:
        return next((r for r in self.history if r.sequence == sequence), None)


def read_live(store: ObjectStore) -> LiveRef | None:
    """The live ref, or None where nothing has been published. Raises `CorruptObject`."""
    try:
        data, etag = store.get_with_etag(keys.LIVE_REF)
    except ObjectNotFound:
        return None
    try:
        records = [_record(entry) for entry in json.loads(data)["records"]]
        return LiveRef(records[-1], tuple(records[:-1]), etag)
    except (ValueError, KeyError, TypeError, IndexError, SettingsError) as error:
        raise CorruptObject(
            keys.LIVE_REF, f"{store.uri}/{keys.LIVE_REF} is not a live ref: {error}"
        ) from error


def publish(store: ObjectStore, release: Ref, index: Ref, *, by: str, expected: LiveRef | None) -> LiveRef:
    """Make the pair live, if the live ref is still the one that was read (`expected`).

    Publishing what is live already changes nothing. Raises `LostRace` where another publisher was first.
    """
    if expected and (expected.live.release, expected.live.index) == (release, index):
        return expected
    parent = expected.live.sequence if expected else None
    return _move(store, expected, release, index, "publish", by, parent)


def roll_back(store: ObjectStore, *, by: str, expected: LiveRef) -> LiveRef:
    """Return to the record that was live before the live one was published. Raises `SettingsError` at the first."""
    target = None if expected.live.parent is None else expected.record(expected.live.parent)
    if target is None:
        raise SettingsError("nothing to roll back to: the live snapshot is the first that was published")
    return _move(store, expected, target.release, target.index, "rollback", by, target.parent)


def _move(
    store: ObjectStore,
    expected: LiveRef | None,
    release: Ref,
    index: Ref,
    action: Literal["publish", "rollback"],
    by: str,
    parent: int | None,
) -> LiveRef:
    sequence = expected.live.sequence + 1 if expected else 1
    at = datetime.now(UTC).isoformat(timespec="seconds")
    record = LiveRecord(sequence, release, index, action, at, by, parent)
    history = ((*expected.history, expected.live) if expected else ())[-_REMEMBERED:]
    data = _to_bytes((*history, record))
    lost = f"{store.uri}: another publisher moved the live ref first; look at it and publish again"
    try:
        etag = store.put(
            keys.LIVE_REF, data, if_absent=expected is None, if_match=expected.etag if expected else None
        )
    except OutcomeUnknown as error:
        found = read_live(store)
        if found is not None and found.live == record:
            return found
        if found is not None and found.live.sequence >= sequence:
            raise LostRace(keys.LIVE_REF, lost) from error
        raise  # not there yet, but it may still arrive
    except LostRace as error:
        raise LostRace(keys.LIVE_REF, lost) from error
    return LiveRef(record, history, etag)


def _to_bytes(records: Iterable[LiveRecord]) -> bytes:
    body = plain({"format": 1, "records": [r.to_json() for r in records]})
    return json.dumps(body, indent=1, allow_nan=False).encode() + b"\n"


def _record(entry: dict[str, object]) -> LiveRecord:
    fields = dict(entry)
    fields["release"] = Ref.parse(str(entry["release"]))
    fields["index"] = Ref.parse(str(entry["index"]))
    return LiveRecord(**fields)  # type: ignore[arg-type]
