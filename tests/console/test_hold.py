"""The console rolls back with a hold, says so, and ends it: over HTTP and in a browser."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from lookalike.publishing import live_ref, publication
from lookalike.storage import audit
from lookalike.storage.artefacts import read_manifest
from lookalike.storage.directory import DirectoryStore
from tests.console.running import TOKEN, running
from tests.shop import Shop, open_shop, reindex, write_release

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def changed(tmp_path: Path) -> Shop:
    """A shop whose second model release is live, with the second index since; the pair is its first."""
    shop = open_shop(DirectoryStore(tmp_path / "store"), tmp_path / "cache", per_category=6)
    bad = write_release(shop.store, shop.listings, shop.cache_dir, seed=1)
    for pair in (shop, *(reindex(shop, per_category=n, release=bad) for n in (7, 8))):
        publication.publish_index(shop.store, pair.index, by="test", cache_dir=shop.cache_dir)
    return shop


@pytest.fixture
def client(changed: Shop) -> Iterator[httpx.Client]:
    with running(changed.store, changed.cache_dir) as made:
        made.headers["Authorization"] = f"Bearer {TOKEN}"
        yield made


def act(client: httpx.Client, action: str, **body: object) -> httpx.Response:
    return client.post(f"/api/actions/{action}", json={"confirm": action, **body})


def test_a_roll_back_holds_says_so_and_is_resumed(client: httpx.Client, changed: Shop) -> None:
    assert client.get("/api/state").json()["live"]["hold"] is None
    reply = act(client, "rollback", from_sequence=3, why="boots are\ngone")
    assert reply.status_code == 200
    assert "#4 is live" in reply.json()["message"]
    assert "`lookalike resume` lets the next re-index" in reply.json()["message"]
    scraped = client.get("/metrics").text
    assert "\nlookalike_publishing_held 1.0\n" in scraped
    since = re.search(r"^lookalike_publishing_held_timestamp_seconds (\S+)$", scraped, re.MULTILINE)
    assert since is not None
    assert 0 <= time.time() - float(since[1]) < 60
    live = client.get("/api/state").json()["live"]
    assert live["hold"]["sequence"] == 4
    assert live["hold"]["why"] == "boots are gone"
    assert live["hold"]["age_s"] < 60
    assert len(live["rejected"]) == 1

    assert act(client, "resume").status_code == 400
    assert act(client, "resume", sequence=True).status_code == 400
    assert act(client, "resume", sequence=3).status_code == 409, "the hold of another roll-back"
    assert client.get("/api/state").json()["live"]["hold"] is not None
    assert act(client, "resume", sequence=4).status_code == 200
    assert client.get("/api/state").json()["live"]["hold"] is None
    assert "\nlookalike_publishing_held 0.0\n" in client.get("/metrics").text
    done, asked = audit.recent(changed.store, 2)
    assert (done.action, done.outcome) == ("resume", "done: runs publish again; what was rejected stays so")
    assert (asked.action, asked.detail, asked.outcome) == ("resume", {"sequence": 4}, audit.ASKED)


def test_a_roll_back_of_the_model_leads_to_the_release_before(client: httpx.Client, changed: Shop) -> None:
    assert client.get("/api/state").json()["live"]["model_back"]["index"] == changed.index.id
    assert act(client, "rollback-model", from_sequence=2).status_code == 409
    assert act(client, "rollback-model", from_sequence=3, why=7).status_code == 400
    assert client.post(
        "/api/actions/rollback-model", json={"confirm": "rollback", "from_sequence": 3}
    ).is_error
    assert act(client, "rollback-model", from_sequence=3).status_code == 200
    live = live_ref.read_live(changed.store)
    assert live is not None
    assert (live.live.release, live.live.index) == (changed.release, changed.index)
    assert len(live.rejected) == 2
    assert client.get("/api/state").json()["live"]["model_back"] is None
    reply = act(client, "rollback-model", from_sequence=4)
    assert reply.status_code == 400
    assert "no other model release is known" in reply.json()["detail"]


def test_a_roll_back_to_what_the_store_has_lost_is_refused_with_the_file(
    client: httpx.Client, changed: Shop
) -> None:
    lost = read_manifest(changed.store, changed.index).files[0].key
    changed.store.delete(lost)
    reply = act(client, "rollback-model", from_sequence=3)
    assert reply.status_code == 502
    assert lost in reply.json()["detail"]
    live = live_ref.read_live(changed.store)
    assert live is not None
    assert (live.live.sequence, live.hold) == (3, None)


@pytest.mark.parametrize("action", ["resume", "rollback-model"])
def test_a_stranger_may_not_act(client: httpx.Client, changed: Shop, action: str) -> None:
    client.headers.pop("Authorization")
    assert act(client, action, sequence=1, from_sequence=3).status_code == 401
    live = live_ref.read_live(changed.store)
    assert live is not None
    assert live.live.sequence == 3


@pytest.fixture
def page(client: httpx.Client) -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(60_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(str(client.base_url))
        yield page
        assert errors == []
        browser.close()


@pytest.mark.browser
def test_an_operator_rolls_the_model_back_and_resumes(page: Page, changed: Shop) -> None:
    expect.set_options(timeout=60_000)
    expect(page.locator("#live")).to_contain_text("#3")
    expect(page.locator("#held")).to_be_hidden()
    page.get_by_role("button", name="Roll back model").click()
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Token").fill(TOKEN)
    page.keyboard.press("Enter")
    said = page.locator("#confirm-text")
    expect(said).to_contain_text(f"{changed.index.id} of model release {changed.release.id}")
    expect(said).to_contain_text("and so is its model release")
    page.get_by_label("Why").fill("<b>boots</b> are taken for sandals")
    page.get_by_role("button", name="Roll back the model now").click()
    expect(page.locator("#live")).to_contain_text(changed.release.id[:8])
    expect(page.locator("#held-why")).to_contain_text(
        re.compile(r"Roll-back #4, \d+ s ago by Ada \(console\): <b>boots</b> are taken for sandals")
    )
    expect(page.locator("#history")).to_contain_text("rejected")
    expect(page.get_by_role("button", name="Re-index")).to_be_disabled()
    expect(page.get_by_role("button", name="Retrain")).to_have_attribute(
        "title", "Publishing is held: resume first."
    )

    page.get_by_role("button", name="Resume publishing").click()
    page.get_by_role("button", name="Resume now").click()
    expect(page.locator("#held")).to_be_hidden()
    live = live_ref.read_live(changed.store)
    assert live is not None
    assert live.hold is None
    asked = [(r.by, r.action) for r in audit.recent(changed.store, 9) if r.outcome == audit.ASKED]
    assert asked == [("Ada", "resume"), ("Ada", "rollback-model")]
