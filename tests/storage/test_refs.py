"""The live ref moves whole, by one writer at a time, and back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lookalike.errors import CorruptObject, LostRace, OutcomeUnknown, SettingsError
from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from lookalike.storage.refs import publish, read_live, roll_back

RELEASE = Ref(Kind.RELEASE, "0" * 16, "0" * 64)
INDEXES = [Ref(Kind.INDEX, f"{i:016x}", f"{i:064x}") for i in range(20)]


def test_publishing_moves_the_live_ref_and_rolling_back_returns(store: ObjectStore) -> None:
    assert read_live(store) is None
    live = None
    for index in INDEXES[:3]:
        live = publish(store, RELEASE, index, by="test", expected=live)
    assert live is not None
    found = read_live(store)
    assert found == live
    assert found.live.index == INDEXES[2]
    for expected in (INDEXES[1], INDEXES[0]):
        live = roll_back(store, by="test", expected=live)
        assert live.live.index == expected
        assert live.live.action == "rollback"
    with pytest.raises(SettingsError, match="nothing to roll back"):
        roll_back(store, by="test", expected=live)
    assert [r.sequence for r in (*live.history, live.live)] == [1, 2, 3, 4, 5]


def test_publishing_what_is_live_changes_nothing(store: ObjectStore) -> None:
    live = publish(store, RELEASE, INDEXES[0], by="test", expected=None)
    assert publish(store, RELEASE, INDEXES[0], by="test", expected=live) is live


def test_after_a_rollback_a_publish_returns_to_where_it_came_from(store: ObjectStore) -> None:
    live = publish(store, RELEASE, INDEXES[0], by="test", expected=None)
    live = publish(store, RELEASE, INDEXES[1], by="test", expected=live)
    live = roll_back(store, by="test", expected=live)
    live = publish(store, RELEASE, INDEXES[2], by="test", expected=live)
    assert roll_back(store, by="test", expected=live).live.index == INDEXES[0]


def test_a_stale_reader_loses(store: ObjectStore) -> None:
    stale = publish(store, RELEASE, INDEXES[0], by="a", expected=None)
    publish(store, RELEASE, INDEXES[1], by="b", expected=stale)
    with pytest.raises(LostRace, match="another publisher"):
        publish(store, RELEASE, INDEXES[2], by="a", expected=stale)
    with pytest.raises(LostRace):
        publish(store, RELEASE, INDEXES[3], by="a", expected=None)
    live = read_live(store)
    assert live is not None
    assert live.live.index == INDEXES[1]


def test_of_many_publishers_one_wins_each_round(store: ObjectStore) -> None:
    live = publish(store, RELEASE, INDEXES[0], by="test", expected=None)

    def attempt(index: Ref) -> bool:
        try:
            publish(store, RELEASE, index, by="test", expected=live)
        except (LostRace, OutcomeUnknown):  # radosgw answers some of the losers with 500
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, INDEXES[1:9])) == 1
    found = read_live(store)
    assert found is not None
    assert found.live.sequence == 2


def test_history_is_bounded(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    live = None
    for i in range(130):
        live = publish(store, RELEASE, INDEXES[i % 2], by="test", expected=live)
    assert live is not None
    assert live.live.sequence == 130
    assert len(live.history) == 100


def test_a_damaged_ref_is_named(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    for data in (b"", b"{}", b'{"records": []}', b'{"records": [{"release": "x"}]}'):
        store.put(keys.LIVE_REF, data)
        with pytest.raises(CorruptObject, match=r"refs/live\.json"):
            read_live(store)


class AnswersLate(DirectoryStore):
    """A directory whose conditional writes happen but get no answer, as after a time-out."""

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        etag = super().put(key, data, if_absent=if_absent, if_match=if_match)
        if if_absent or if_match:
            raise OutcomeUnknown(key, "no answer")
        return etag


def test_a_write_without_an_answer_is_read_back_not_repeated(tmp_path: Path) -> None:
    live = publish(AnswersLate(tmp_path), RELEASE, INDEXES[0], by="test", expected=None)
    live = publish(AnswersLate(tmp_path), RELEASE, INDEXES[1], by="test", expected=live)
    assert live == read_live(DirectoryStore(tmp_path))
    assert live.live.sequence == 2
