"""`rollback`, `rollback --model`, `resume` and `publish` on the command line, and what a hold lets through."""

from __future__ import annotations

from pathlib import Path

import pytest

from lookalike.publishing import live_ref, publication, retention
from lookalike.storage import audit
from lookalike.storage.artefacts import read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.shop import Shop, open_shop, reindex, write_release

from .conftest import Run


def publish(shop: Shop) -> None:
    """Unattended, and past the data gate: these shops grow and shrink as no shop does."""
    publication.publish_index(shop.store, shop.index, by="test", cache_dir=shop.cache_dir, accept=True)


def live_of(shop: Shop) -> live_ref.LiveRef:
    live = live_ref.read_live(shop.store)
    assert live is not None
    return live


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture
def held(run: Run, tmp_path: Path) -> tuple[Shop, Shop]:
    """A shop rolled back to its first index by a person, and the second, which that left."""
    first = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=6)
    second = reindex(first, per_category=8)
    for pair in (first, second):
        publish(pair)
    outcome = run("rollback", "--why", "[bold] boots\x1b[31m\nare gone", "--store", first.store.uri)
    assert outcome.code == 0, outcome.err
    assert "publishing is held since roll-back #3" in one_line(outcome.out)
    assert "[bold] boots [31m are gone" in one_line(outcome.out)
    assert "`lookalike resume` lets the next re-index bring it up to date" in one_line(outcome.err)
    return first, second


def test_a_hold_is_seen_wherever_one_looks(run: Run, held: tuple[Shop, Shop]) -> None:
    first, second = held
    for arguments in (("inspect", "live"), ("inspect",)):
        outcome = run(*arguments, "--store", first.store.uri)
        assert "held publishing is held since roll-back #3" in one_line(outcome.err)
        found = run(*arguments, "--store", first.store.uri, "--json").json
        assert found["hold"]["sequence"] == 3  # type: ignore[index]
        assert found["rejected"][0]["ref"] == str(second.index)  # type: ignore[index]


def test_while_held_only_what_is_named_is_published_and_the_hold_stays(
    run: Run,
    held: tuple[Shop, Shop],
) -> None:
    first, _ = held
    third = reindex(first, per_category=10)
    outcome = run("publish", "--store", first.store.uri)
    assert outcome.code == 1
    assert "publishing is held since roll-back #3" in outcome.err
    assert "--index" in outcome.err
    assert outcome.err.count("\n") == 1
    assert live_of(first).live.index == first.index

    outcome = run("publish", "--index", third.index.id, "--store", first.store.uri)
    assert outcome.code == 0, outcome.err
    assert "publishing is held since roll-back #3" in one_line(outcome.out)
    live = live_of(first)
    assert live.live.index == third.index
    assert live.hold is not None


def test_what_was_rejected_needs_a_word_of_its_own_which_goes_on_record(
    run: Run,
    held: tuple[Shop, Shop],
) -> None:
    first, second = held
    for _ in ("held", "resumed"):
        outcome = run("publish", "--index", second.index.id, "--store", first.store.uri)
        assert outcome.code == 1
        assert f"index/{second.index.id} was rejected by roll-back #3" in outcome.err
        assert "--rejected" in outcome.err
        assert run("resume", "--store", first.store.uri).code == 0
    assert run("publish", "--rejected", "--store", first.store.uri).code == 2
    outcome = run("publish", "--index", second.index.id, "--rejected", "--store", first.store.uri)
    assert outcome.code == 0, outcome.err
    live = live_of(first)
    assert (live.live.index, live.rejected) == (second.index, ())
    asked = next(r for r in audit.recent(first.store, 99) if r.outcome == audit.ASKED)
    assert (asked.action, asked.detail["index"]) == ("publish", str(second.index))
    assert asked.detail["rejected"]
    assert asked.by == publication.somebody()


def test_publishing_can_end_the_hold(run: Run, held: tuple[Shop, Shop]) -> None:
    first, _ = held
    third = reindex(first, per_category=10)
    outcome = run("publish", "--index", third.index.id, "--resume", "--store", first.store.uri, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["hold"] is None
    assert live_of(first).hold is None


def test_resuming_lets_unattended_publishers_go_on_and_is_on_record(
    run: Run,
    held: tuple[Shop, Shop],
) -> None:
    first, _ = held
    third = reindex(first, per_category=10)
    assert run("resume", "--store", first.store.uri).code == 0
    assert live_of(first).hold is None
    publish(third)
    assert live_of(first).live.index == third.index
    actions = [(r.action, r.outcome) for r in audit.recent(first.store, 99)]
    assert actions == [("resume", "done"), ("resume", "asked"), ("rollback", "done"), ("rollback", "asked")]
    assert run("resume", "--store", first.store.uri).code == 0, "nothing is held any more"


def test_a_whole_run_stops_before_it_reads_anything(
    run: Run,
    held: tuple[Shop, Shop],
    tmp_path: Path,
) -> None:
    first, _ = held
    before = {info.key for info in first.store.list()}
    outcome = run("run", "--catalogue", tmp_path / "not-even-there.csv", "--store", first.store.uri)
    assert outcome.code == 1
    assert "publishing is held since roll-back #3" in outcome.err
    assert {info.key for info in first.store.list()} == before


def test_a_roll_back_of_the_model_finds_the_good_one_after_many_re_indexes(
    run: Run,
    tmp_path: Path,
) -> None:
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=6)
    last_good = reindex(shop, per_category=8)
    bad = write_release(shop.store, shop.listings, shop.cache_dir, seed=1)
    for pair in (shop, last_good):
        publish(pair)
    for n in range(8, 15):
        newest = reindex(shop, per_category=n, release=bad, prefix=f"n{n}-")
        publish(newest)
        keep = retention.RetentionConfig(grace_hours=0, releases=1)
        retention.apply(shop.store, retention.plan(shop.store, keep))
    outcome = run("rollback", "--model", "--why", "calls boots sandals", "--store", shop.store.uri, "--json")
    assert outcome.code == 0, outcome.err
    assert outcome.json["live"]["index"] == str(last_good.index)  # type: ignore[index]
    assert f"bring it up to date with model release {shop.release.id}" in one_line(outcome.err)
    live = live_of(shop)
    assert (live.live.release, live.live.action) == (shop.release, "rollback")
    assert {found.ref for found in live.rejected} == {bad, newest.index}
    assert run("verify", "--store", shop.store.uri).code == 0

    assert run("resume", "--store", shop.store.uri).code == 0
    again = reindex(shop, per_category=12, release=bad)
    with pytest.raises(publication.PublishingHeld, match=f"releases/{bad.id} was rejected by roll-back #10"):
        publish(again)
    fresh = reindex(shop, per_category=12)
    publish(fresh)
    assert live_of(shop).live.index == fresh.index
    outcome = run("rollback", "--model", "--store", shop.store.uri)
    assert outcome.code == 2
    assert "no other model release is known" in outcome.err


def test_a_roll_back_of_the_model_takes_the_newest_index_that_is_whole_and_else_names_the_file(
    run: Run,
    tmp_path: Path,
) -> None:
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=6)
    newer = reindex(shop, per_category=8)
    bad = write_release(shop.store, shop.listings, shop.cache_dir, seed=1)
    for pair in (shop, newer, reindex(shop, per_category=7, release=bad)):
        publish(pair)
    segments = [read_manifest(shop.store, pair.index).files[0].key for pair in (newer, shop)]
    shop.store.delete(segments[0])
    live = publication.roll_back(shop.store, by="test", cache_dir=shop.cache_dir, model=True)
    assert live.live.index == shop.index

    publication.publish_index(
        shop.store, reindex(shop, per_category=7, release=bad).index,
        by="test", cache_dir=shop.cache_dir, attended=True, rejected_too=True,
    )  # fmt: skip
    shop.store.delete(segments[1])
    outcome = run("rollback", "--model", "--store", shop.store.uri)
    assert outcome.code == 1
    assert segments[1] in outcome.err
    assert live_of(shop).live.release == bad
