"""The audit log: who asked for what, one immutable object per action, kept beside the artefacts.

A record is written if absent under a key that begins with its time, so records list in order, nobody can overwrite
one through this code, and two writers never meet. The key names the action, too, so that the newest of one kind is
found by listing.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lookalike import strict_json
from lookalike.errors import CorruptObject, LookalikeError
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore

ASKED = "asked"
"""Outcome of the record that is written before an action, so that none happens unrecorded."""


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One action: when (UTC, ISO 8601 with microseconds), by whom, what, with which details, and how it ended."""

    at: str
    by: str
    action: str
    detail: Mapping[str, Any]
    outcome: str


def record(
    store: ObjectStore, *, by: str, action: str, detail: Mapping[str, Any], outcome: str
) -> AuditRecord:
    """Write one record. Numbers of `detail` that are not finite are recorded as null."""
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    entry = AuditRecord(at, by, action, dict(detail), outcome)
    key = keys.audit(at, action, uuid.uuid4().hex[:8])
    text = json.dumps(strict_json.plain(asdict(entry)), indent=1, ensure_ascii=False, allow_nan=False)
    store.put(key, text.encode() + b"\n", if_absent=True)
    return entry


@contextmanager
def recorded(store: ObjectStore, *, by: str, action: str, detail: Mapping[str, Any]) -> Iterator[None]:
    """Record an action before it is done, and again with how it ended."""
    record(store, by=by, action=action, detail=detail, outcome=ASKED)
    try:
        yield
    except LookalikeError as error:
        record(store, by=by, action=action, detail=detail, outcome=f"refused: {error}")
        raise
    record(store, by=by, action=action, detail=detail, outcome="done")


def recent(
    store: ObjectStore, count: int, *, damaged: list[CorruptObject] | None = None
) -> list[AuditRecord]:
    """The last `count` records, newest first, without those that cannot be read: they go to `damaged`.

    Raises `CorruptObject` naming such a record where nobody gives a list for them.
    """
    found = [info.key for info in store.list(keys.AUDIT)][-count:]
    records = []
    for key in reversed(found):
        try:
            records.append(_read(store, key))
        except CorruptObject as unreadable:
            if damaged is None:
                raise
            damaged.append(unreadable)
    return records


def newest(store: ObjectStore, action: str) -> AuditRecord | None:
    """The last record of that action, if there is one. Raises `CorruptObject` where it cannot be read."""
    found = [info.key for info in store.list(keys.AUDIT) if keys.audited_action(info.key) == action]
    return _read(store, found[-1]) if found else None


def _read(store: ObjectStore, key: str) -> AuditRecord:
    try:
        return _parsed(store.get(key))
    except ValueError as error:
        raise CorruptObject(key, f"{store.uri}/{key} is not an audit record: {error}") from error


def _parsed(data: bytes) -> AuditRecord:
    """Raises `ValueError`: a record that no browser could read is damaged, too."""
    body = strict_json.parse(data, depth=2 * strict_json.DEPTH)
    if not isinstance(body, dict) or set(body) != {"at", "by", "action", "detail", "outcome"}:
        raise ValueError("it has not the fields of one")
    if not isinstance(body["detail"], dict) or any(
        not isinstance(value, str) for name, value in body.items() if name != "detail"
    ):
        raise ValueError("a field is of the wrong type")
    return AuditRecord(**body)
