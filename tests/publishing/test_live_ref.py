"""The live ref moves whole, by one writer at a time, and back."""

from __future__ import annotations

import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lookalike.errors import CorruptObject, LostRace, OutcomeUnknown, SettingsError
from lookalike.publishing.live_ref import publish, read_live, resume, roll_back, take_back
from lookalike.storage import keys
from lookalike.storage.artefacts import Kind, Ref
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore

RELEASES = [Ref(Kind.RELEASE, f"{i:016x}", f"{i:064x}") for i in range(10)]
RELEASE = RELEASES[0]
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


def test_deltas_are_published_rolled_back_and_rejected_one_by_one(store: ObjectStore) -> None:
    deltas = [Ref(Kind.DELTA, f"{i:016x}", f"{i:064x}") for i in range(3)]
    live = publish(store, RELEASE, INDEXES[0], by="test", expected=None)
    for count in (1, 2):
        live = publish(store, RELEASE, INDEXES[0], by="test", expected=live, deltas=tuple(deltas[:count]))
    assert read_live(store) == live
    assert (live.live.index, live.live.deltas, live.live.tip) == (INDEXES[0], tuple(deltas[:2]), deltas[1])
    again = publish(store, RELEASE, INDEXES[0], by="test", expected=live, deltas=tuple(deltas[:2]))
    assert again is live
    live = roll_back(store, by="test", expected=live)
    assert live.live.deltas == (deltas[0],)
    assert live.rejection(deltas[1]) is not None
    assert live.rejection(RELEASE, INDEXES[0], deltas[0]) is None, "what is live again is not rejected"
    live = roll_back(store, by="test", expected=live)
    assert (live.live.tip, live.live.deltas) == (INDEXES[0], ())
    assert live.rejection(INDEXES[0]) is None
    entry = json.loads(store.get(keys.LIVE_REF))["records"][0]
    assert "deltas" not in entry, "files of a base alone are those of earlier versions"


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
    deltas = tuple(Ref(Kind.DELTA, f"{i:016x}", "0" * 64) for i in range(8))
    for i in range(130):
        live = publish(store, RELEASE, INDEXES[i % 2], by="test", expected=live, deltas=deltas)
    assert live is not None
    assert live.live.sequence == 130
    assert len(live.history) == 40
    assert len(store.get(keys.LIVE_REF)) < 60_000, "every pod fetches it"


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


def test_a_roll_back_holds_and_rejects_in_the_same_move(store: ObjectStore) -> None:
    live = publish(store, RELEASE, INDEXES[0], by="a", expected=None)
    live = publish(store, RELEASE, INDEXES[1], by="a", expected=live)
    live = roll_back(store, by="ada", expected=live, why="half the shop is gone")
    found = read_live(store)
    assert found == live
    assert found.hold is not None
    assert (found.hold.sequence, found.hold.by, found.hold.why) == (3, "ada", "half the shop is gone")
    assert [entry.ref for entry in found.rejected] == [INDEXES[1]], (
        "the model release stays as good as it was"
    )
    assert store.get(keys.LIVE_REF).count(b"half the shop is gone") == 2
    live = publish(store, RELEASE, INDEXES[2], by="ada", expected=found)
    assert live.hold == found.hold, "publishing does not end a hold"
    assert live.rejected == found.rejected
    live = resume(store, expected=live)
    assert read_live(store) == live
    assert (live.live.sequence, live.hold, live.rejected) == (4, None, found.rejected)
    assert resume(store, expected=live) is live


def test_a_hold_cannot_be_lost_to_a_publisher_that_read_before(store: ObjectStore) -> None:
    live = publish(store, RELEASE, INDEXES[0], by="a", expected=None)
    stale = publish(store, RELEASE, INDEXES[1], by="a", expected=live)
    held = roll_back(store, by="ada", expected=stale)
    with pytest.raises(LostRace):
        publish(store, RELEASE, INDEXES[2], by="hourly", expected=stale)
    with pytest.raises(LostRace):
        resume(store, expected=dataclasses.replace(held, etag=stale.etag))
    assert read_live(store) == held


def test_leaving_a_model_release_rejects_that_too(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    live = publish(store, RELEASES[0], INDEXES[0], by="a", expected=None)
    live = publish(store, RELEASES[1], INDEXES[1], by="a", expected=live)
    live = roll_back(store, by="a", expected=live)
    assert {entry.ref for entry in live.rejected} == {INDEXES[1], RELEASES[1]}
    assert live.rejection(INDEXES[5], RELEASES[1]) is not None
    assert live.rejection(INDEXES[5], RELEASES[0]) is None
    assert live.rejection(dataclasses.replace(INDEXES[1], digest="f" * 64)) is not None, "written anew"
    live = publish(store, RELEASES[1], INDEXES[1], by="ada, who knows better", expected=live)
    assert live.rejected == ()


def test_a_roll_back_that_did_not_come_up_stays_held_and_rejects_nothing(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    live = publish(store, RELEASES[0], INDEXES[0], by="a", expected=None)
    live = publish(store, RELEASES[1], INDEXES[1], by="a", expected=live)
    live = roll_back(store, by="a", expected=live)
    live = take_back(store, by="a", expected=live, rejected=live.rejected)
    assert (live.live.index, live.live.action) == (INDEXES[1], "publish")
    assert live.hold is not None
    assert live.rejected == ()


def test_a_publication_that_did_not_come_up_holds_nothing_and_stays_rejected(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    live = publish(store, RELEASE, INDEXES[0], by="a", expected=None)
    live = publish(store, RELEASE, INDEXES[1], by="a", expected=live)
    back = resume(store, expected=roll_back(store, by="a", expected=live))
    live = publish(store, RELEASE, INDEXES[1], by="a", expected=back)
    live = take_back(store, by="a", expected=live, rejected=back.rejected)
    assert (live.live.index, live.hold) == (INDEXES[0], None)
    assert [entry.ref for entry in live.rejected] == [INDEXES[1]]


def test_the_last_record_of_each_model_release_outlives_hourly_moves(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    live = None
    for i, release in enumerate(RELEASES[:8]):
        for index in (INDEXES[2 * i], INDEXES[2 * i + 1]):
            live = publish(store, release, index, by="test", expected=live)
    for i in range(130):
        live = publish(store, RELEASES[8], INDEXES[i % 2], by="hourly", expected=live)
    found = read_live(store)
    assert found is not None
    records = [(record.release, record.index) for record in found.history]
    old = [(RELEASES[i], INDEXES[2 * i + 1]) for i in range(4, 8)]
    assert records[:4] == old
    assert len(records) == 44
    assert [record.sequence for record in found.history] == sorted(r.sequence for r in found.history)
    [target] = found.of_previous_release()
    assert (target.release, target.index) == old[-1]
    back = roll_back(store, by="ada", expected=found, to=target)
    assert (back.live.release, back.live.index) == old[-1]
    assert [record.release for record in back.of_previous_release()] == [RELEASES[6]], (
        "not to what was rejected"
    )


def test_a_roll_back_to_what_is_no_longer_remembered_says_so(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    live = publish(store, RELEASE, INDEXES[0], by="test", expected=None)
    live = dataclasses.replace(live, live=dataclasses.replace(live.live, parent=7))
    with pytest.raises(SettingsError, match="record #7 is no longer remembered"):
        roll_back(store, by="test", expected=live)


OLD = {
    "sequence": 3,
    "release": str(RELEASE),
    "index": str(INDEXES[0]),
    "action": "rollback",
    "at": "2026-01-02T03:04:05+00:00",
    "by": "ada@shop",
    "parent": None,
}


def test_a_live_ref_of_a_version_without_holds_opens_and_is_held_from_then_on(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.put(keys.LIVE_REF, json.dumps({"format": 1, "records": [OLD]}).encode())
    live = read_live(store)
    assert live is not None
    assert (live.live.sequence, live.hold, live.rejected) == (3, None, ())
    live = publish(store, RELEASE, INDEXES[1], by="test", expected=live)
    assert roll_back(store, by="test", expected=live).hold is not None


def test_what_is_written_now_has_the_records_that_older_versions_read(tmp_path: Path) -> None:
    """They take every field of a record as theirs, and ignore what stands beside the records."""
    store = DirectoryStore(tmp_path)
    live = publish(store, RELEASE, INDEXES[0], by="test", expected=None)
    live = publish(store, RELEASE, INDEXES[1], by="test", expected=live)
    roll_back(store, by="test", expected=live)
    body = json.loads(store.get(keys.LIVE_REF))
    assert body["format"] == 1
    assert all(set(record) == set(OLD) for record in body["records"])


def test_what_a_later_version_adds_is_passed_over_but_not_another_format(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    body = {"format": 1, "records": [OLD | {"deltas": []}], "hold": None, "rejected": [], "more": 1}
    store.put(keys.LIVE_REF, json.dumps(body).encode())
    assert read_live(store) is not None
    store.put(keys.LIVE_REF, json.dumps(body | {"format": 2}).encode())
    with pytest.raises(CorruptObject, match="format 2, this version reads 1: update it"):
        read_live(store)


def test_a_resumption_without_an_answer_is_read_back(tmp_path: Path) -> None:
    live = publish(DirectoryStore(tmp_path), RELEASE, INDEXES[0], by="test", expected=None)
    live = publish(DirectoryStore(tmp_path), RELEASE, INDEXES[1], by="test", expected=live)
    live = roll_back(AnswersLate(tmp_path), by="test", expected=live)
    assert live.hold is not None
    assert resume(AnswersLate(tmp_path), expected=live).hold is None
