"""After a roll-back scheduled runs end as *Held*, early and without failing, until somebody resumes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from lookalike.errors import LostRace
from lookalike.publishing import live_ref, publication
from lookalike.storage import keys
from tests.shop import Listing

from .conftest import RECIPE, Prefect, Shop


def roll_back(shop: Shop) -> live_ref.LiveRef:
    return publication.roll_back(shop.store, by="ada@shop", cache_dir=shop.cache, why="no shoes at all")


def contents(shop: Shop) -> dict[str, Any]:
    return {info.key: info.modified for info in shop.store.list()}


def ended(prefect: Prefect, flow: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """The state in which a run ends that has not failed."""
    prefect.result(flow, parameters)
    return last_state(prefect, flow)


def last_state(prefect: Prefect, flow: str) -> dict[str, Any]:
    begun = {
        "start_time": {"is_null_": False}
    }  # deployments of other tests may have runs that wait for their time
    newest = {"flows": {"name": {"any_": [flow]}}, "flow_runs": begun, "sort": "START_TIME_DESC", "limit": 1}
    state: dict[str, Any] = prefect.ask("/flow_runs/filter", newest)[0]["state"]
    return state


def test_a_roll_back_is_not_undone_by_the_next_scheduled_run(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    first = shop.live().index
    shop.offer([row for row in listings if not row.category.startswith("shoes")])
    assert ended(prefect, "reindex", shop.where() | {"accept": True})["name"] == "Completed"
    bad = shop.live().index
    held = roll_back(shop)
    assert held.live.index == first
    before = contents(shop)

    state = ended(prefect, "reindex", shop.where())
    assert (state["type"], state["name"]) == ("COMPLETED", "Held")
    said = f"nothing published: publishing is held since roll-back #3 (ada@shop, {held.live.at}: no shoes at all)"
    assert said in state["message"]
    assert "`lookalike resume`" in state["message"]
    state = ended(prefect, "retrain", shop.where() | RECIPE)
    assert (state["type"], state["name"]) == ("COMPLETED", "Held")
    assert contents(shop) == before, "nothing was read, trained or written"

    publication.resume(shop.store)
    state = ended(prefect, "reindex", shop.where())
    assert state["name"] == "Held", "the catalogue is as bad as it was"
    assert f"nothing published: index/{bad.id} was rejected by roll-back #3" in state["message"]
    assert shop.live().index == first

    shop.offer(listings)
    assert ended(prefect, "reindex", shop.where())["name"] == "Completed"
    assert shop.live().action == "publish"
    assert shop.live().index not in (first, bad)


def test_a_run_that_a_roll_back_overtakes_ends_as_held_and_keeps_its_work(
    prefect: Prefect, shop: Shop, listings: tuple[Listing, ...]
) -> None:
    shop.offer(listings[:-30])
    publication.publish_index(
        shop.store, shop.index(shop.curate(), shop.live().release), by="test", cache_dir=shop.cache
    )
    shop.offer(listings)
    process = prefect.run("reindex", shop.where())
    assert process.stdout is not None
    log = []
    for line in process.stdout:  # to its first progress, which comes after it has looked for a hold
        log.append(line)
        if line.startswith("PROGRESS"):
            break
    held = roll_back(shop)
    rest, _ = process.communicate(timeout=240)
    assert process.returncode == 0, "".join(log) + rest
    state = last_state(prefect, "reindex")
    assert (state["type"], state["name"]) == ("COMPLETED", "Held")
    assert "publishing is held since roll-back #3" in state["message"]
    assert last_state(prefect, "publish")["name"] == "Held"
    assert live_ref.read_live(shop.store) == held
    made = {info.key.split("/")[1] for info in shop.store.list("index/") if info.key.endswith(keys.MANIFEST)}
    assert len(made) == 3, "what the run has built is there, to be published by name"


def test_a_publisher_that_read_before_the_roll_back_loses(shop: Shop, listings: tuple[Listing, ...]) -> None:
    """Between its look at the live ref and its move the whole pair is read: time enough for a person."""
    shop.offer(listings[:-30])
    publication.publish_index(
        shop.store, shop.index(shop.curate(), shop.live().release), by="test", cache_dir=shop.cache
    )
    shop.offer(listings)
    index = shop.index(shop.curate(), shop.live().release)
    once = threading.Event()

    def person(stage: str, done: int, total: int, note: str = "") -> None:
        if not once.is_set():
            once.set()
            roll_back(shop)

    with pytest.raises(LostRace, match="another publisher moved the live ref first"):
        publication.publish_index(shop.store, index, by="hourly", cache_dir=shop.cache, progress=person)
    live = live_ref.read_live(shop.store)
    assert live is not None
    assert live.hold is not None
    assert live.live.action == "rollback"
