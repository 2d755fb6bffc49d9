"""The audit log: who asked for what, one immutable object per action, kept beside the artefacts.

A record is written if absent under a key that begins with its time, so records list in order, nobody can overwrite
one through this code, and two writers never meet.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from lookalike.errors import CorruptObject
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
    """Write one record."""
    at = datetime.now(UTC).isoformat(timespec="microseconds")
    entry = AuditRecord(at, by, action, dict(detail), outcome)
    key = keys.audit(at, uuid.uuid4().hex[:8])
    store.put(key, json.dumps(asdict(entry), indent=1, ensure_ascii=False).encode() + b"\n", if_absent=True)
    return entry


def recent(store: ObjectStore, count: int) -> list[AuditRecord]:
    """The last `count` records, newest first. Raises `CorruptObject` naming a record that cannot be read."""
    found = [info.key for info in store.list(keys.AUDIT)][-count:]
    records = []
    for key in reversed(found):
        try:
            records.append(AuditRecord(**json.loads(store.get(key))))
        except (ValueError, TypeError) as error:
            raise CorruptObject(key, f"{store.uri}/{key} is not an audit record: {error}") from error
    return records
