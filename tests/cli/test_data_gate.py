"""`publish` and `run` stop at the data gate in one line, take other bounds, and publish on somebody's word."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lookalike.publishing import live_ref
from lookalike.storage import audit
from lookalike.storage.artefacts import Ref, read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.cli.conftest import Run
from tests.cli.test_cli import write_catalogue
from tests.shop import Shop, open_shop, reindex


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=8)


def live(shop: Shop) -> live_ref.LiveRecord:
    found = live_ref.read_live(shop.store)
    assert found is not None
    return found.live


def test_publish_refuses_what_falls_behind_and_says_both_numbers(run: Run, shop: Shop) -> None:
    at = ("--store", shop.store.root)
    assert run("publish", "--index", shop.index, *at).code == 0
    cut = reindex(shop, per_category=2).index
    outcome = run("publish", "--index", cut, *at)
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("\n") == 1
    assert "listings 48 -> 12 (at most 9 fewer)" in outcome.err
    assert f"`lookalike publish --index {cut.id} --accept`" in outcome.err
    assert live(shop).index == shop.index


def test_publish_accepts_on_somebodys_word_and_leaves_a_record(run: Run, shop: Shop) -> None:
    at = ("--store", shop.store.root)
    run("publish", "--index", shop.index, *at)
    cut = reindex(shop, per_category=2).index
    outcome = run("publish", "--index", cut, "--accept", "--json", *at)
    assert outcome.code == 0
    assert outcome.json["live"]["index"] == str(cut)
    assert "accepted: data gate: " in outcome.err
    (record,) = audit.recent(shop.store, 9)
    assert (record.by, record.action) == (live(shop).by, "data-gate")
    assert record.detail["numbers"]["listings"]["live"] == "48"
    assert record.detail["beyond"] == ["listings", "photos"]
    run("publish", "--index", cut, *at)  # live already: nothing to compare, nothing to record
    assert len(audit.recent(shop.store, 9)) == 1
    assert run("rollback", *at).code == 0  # from 12 to 48 or back: a roll-back is not gated
    assert live(shop).index == shop.index


def test_bounds_can_be_given_and_wrong_ones_are_named(
    run: Run, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ("--store", shop.store.root)
    run("publish", "--index", shop.index, *at)
    cut = reindex(shop, per_category=5).index
    assert run("publish", "--index", cut, *at).code == 1
    for wrong, said in [
        ("fewer=1", "the bounds are fewer_listings, "),
        ("slack", "bound slack is ''"),
        ("fewer_listings=2", "bound fewer_listings is '2'"),
    ]:
        outcome = run("publish", "--index", cut, "--bound", wrong, *at)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1)
        assert said in outcome.err
    monkeypatch.setenv("LOOKALIKE_DATA_GATE_FEWER_PHOTOS", "0.5")
    outcome = run("publish", "--index", cut, "--bound", "fewer_listings=0.5", *at)
    assert outcome.code == 0
    assert live(shop).index == cut


def test_run_does_not_publish_half_a_catalogue(run: Run, tmp_path: Path) -> None:
    catalogue, store = write_catalogue(tmp_path), DirectoryStore(tmp_path / "store")
    way = ("run", "--catalogue", catalogue, "--store", store.root, "--recipe", "tiny", "--min-category", 2)
    first = run(*way, "--json")
    assert first.code == 0
    index = Ref.parse(str(first.json["index"]))
    before = read_manifest(store, index).meta["rows"]
    lines = catalogue.read_text().splitlines(keepends=True)
    catalogue.write_text("".join(lines[: len(lines) // 2]))
    outcome = run(*way)
    assert outcome.code == 1
    assert f"listings {before:,} -> " in outcome.err
    assert "rows, the live one's " in outcome.err
    assert json.loads(store.get("refs/live.json"))["records"][-1]["index"] == str(index)
    assert run(*way, "--accept").code == 0
