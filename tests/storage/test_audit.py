"""The audit log keeps what was done, in order, and cannot be written over."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lookalike.errors import CorruptObject
from lookalike.storage import audit, keys
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore


def test_records_come_back_newest_first(store: ObjectStore) -> None:
    for number in range(3):
        audit.record(store, by="ada", action="retrain", detail={"number": number}, outcome="done")
    assert [record.detail["number"] for record in audit.recent(store, 2)] == [2, 1]


def test_many_writers_at_once_each_leave_a_record(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        for number in range(40):
            pool.submit(audit.record, store, by="ada", action="reindex", detail={"n": number}, outcome="done")
    assert {record.detail["n"] for record in audit.recent(store, 100)} == set(range(40))


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(f"{keys.AUDIT}x.json", b"{}")
    with pytest.raises(CorruptObject, match=r"audit/x\.json"):
        audit.recent(store, 5)
