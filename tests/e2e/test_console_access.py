"""The console for everybody: axe-core finds nothing in any state, on a desk and on a phone, light and dark."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from lookalike.errors import DataGateError
from lookalike.publishing import publication
from lookalike.storage import keys
from lookalike.storage.directory import DirectoryStore
from lookalike.traffic import TrafficLog
from tests.console.running import TOKEN, running
from tests.console.test_clicks import answered, shown, write
from tests.console.test_trends import answer
from tests.e2e.pages import violations
from tests.flows.conftest import (  # noqa: F401  fixtures
    ROOT,
    Prefect,
    connections,
    environ,
    is_up,
    prefect,
    wait_until,
)
from tests.shop import CATEGORIES, Shop, open_shop, reindex

pytestmark = pytest.mark.browser
RUNNING, FAILED = "keen-otter", "sad-heron"


@pytest.fixture(scope="module")
def orchestrated(prefect: Prefect, tmp_path_factory: pytest.TempPathFactory) -> Prefect:  # noqa: F811
    """A Prefect server that knows our flows, with a run in its second stage and one that failed."""
    where = {"LOOKALIKE_STORE": str(tmp_path_factory.mktemp("store"))}
    serve = subprocess.Popen(
        [sys.executable, "-m", "local.deployments"], cwd=ROOT, env={**prefect.environ, **where}
    )
    try:
        wait_until("the flows", lambda: is_up(f"{prefect.api}/deployments/name/publish/publish"), serve)
    finally:
        serve.terminate()
        serve.wait(60)
    flows = {name: prefect.ask("/flows/", {"name": name})["id"] for name in ("retrain", "curate", "train")}

    def run(flow: str, state: str, **more: object) -> str:
        asked = {"flow_id": flows[flow], "state": {"type": state, "name": state.title()}, **more}
        return str(prefect.ask("/flow_runs/", asked)["id"])

    begun = run("retrain", "RUNNING", name=RUNNING, parameters={"parameters": {"asked_by": "Ada"}})
    for stage, state in (("curate", "COMPLETED"), ("train", "RUNNING")):
        task = {"flow_run_id": begun, "task_key": stage, "dynamic_key": stage, "name": stage}
        stage_run = run(stage, state, parent_task_run_id=prefect.ask("/task_runs/", task)["id"])
    bar = {"type": "progress", "data": 40, "description": "train category head 8/20"}
    prefect.ask("/artifacts/", {**bar, "flow_run_id": stage_run})
    failed = run("retrain", "PENDING", name=FAILED)
    end = {
        "type": "FAILED",
        "name": "Failed",
        "message": "lookalike.errors.QualityGateError: top-1 0.9 -> 0.5",
    }
    prefect.ask(f"/flow_runs/{failed}/set_state", {"state": end, "force": True})
    levels = ((20, "read photos"), (30, "a photo is damaged"), (40, "no room"))
    prefect.ask(
        "/logs/",
        [
            {"name": "x", "level": level, "message": text, "timestamp": at(minutes=-1), "flow_run_id": failed}
            for level, text in levels
        ],
    )
    return prefect


def at(**change: float) -> str:
    return (datetime.now(UTC) + timedelta(**change)).isoformat()


@pytest.fixture
def rolled(tmp_path: Path) -> Shop:
    """A shop with something to show in every part of the page, and a publication that the data gate refused."""
    store = DirectoryStore(tmp_path / "store")
    shop = open_shop(store, tmp_path / "cache", per_category=6)
    for pair in (shop, reindex(shop, per_category=8)):
        publication.publish_index(store, pair.index, by="test", cache_dir=shop.cache_dir)
    for hours, categories in ((40, 6), (2, 2), (1, 3), (0, 2)):
        log = TrafficLog(store, f"{hours}", clock=lambda hours=hours: time.time() - 3600 * hours)
        for category in CATEGORIES[:categories]:
            log.answered(200, 0.03)
            log.found(answer(category, unalike=hours == 1), photo=True)
        log.answered(500, 0.1)
        log.write()
    write(store, datetime.now(UTC) - timedelta(hours=2), *answered("a"), *shown("a"), ("click", "a", "L2", 2))
    measures = {"category top-1": 0.9, "mAP": 0.5, "recall@10": 0.6, "product first": 0.75}
    store.put(keys.measures(shop.release.id), json.dumps(measures).encode())
    few = reindex(shop, per_category=2).index
    with pytest.raises(DataGateError):
        publication.publish_index(store, few, by="worker (flow run x)", cache_dir=shop.cache_dir)
    return shop


@pytest.fixture
def console(rolled: Shop, orchestrated: Prefect) -> Iterator[httpx.Client]:
    with running(rolled.store, rolled.cache_dir, prefect=orchestrated.api) as client:
        yield client


@contextmanager
def opened(browser: Browser, console: httpx.Client, scheme: str, width: int) -> Iterator[Page]:
    with browser.new_context(
        base_url=str(console.base_url),
        viewport={"width": width, "height": 800},
        color_scheme=scheme,  # type: ignore[arg-type]
        reduced_motion="reduce",
    ) as context:
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.goto("/")
        yield page


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(
    browser: Browser, console: httpx.Client, scheme: str, width: int
) -> None:
    expect.set_options(timeout=30_000)
    found: dict[str, list[str]] = {}
    with opened(browser, console, scheme, width) as page:

        def press(name: str) -> None:
            page.get_by_role("button", name=name, exact=True).click()

        def check(state: str) -> None:
            found[state] = violations(page)

        expect(page.locator("#pictures svg")).to_have_count(4)
        expect(page.locator("#refused-why")).to_contain_text("listings 48 -> 12")
        expect(page.locator("#clicked tr")).to_have_count(4)
        expect(page.locator(".stage.running .text")).to_have_text("train category head 8/20")
        expect(page.locator("#recent .why")).to_contain_text("top-1 0.9 -> 0.5")
        check("overview, a run, a refusal of the data gate")
        press("30 days")
        expect(page.locator("#sought tr")).to_have_count(6)
        check("a month")

        press("Retrain")
        check("log-in")
        page.get_by_label("Your name").fill("Ada")
        page.get_by_label("Token").fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#login .error")).to_have_text("that is not the token")
        check("a wrong token")
        page.get_by_label("Token").fill(TOKEN)
        page.keyboard.press("Enter")
        expect(page.locator("#field-recipe")).to_be_visible()
        page.get_by_text("More settings").click()
        check("retrain, with all settings")
        page.keyboard.press("Escape")

        page.locator("#recent").get_by_role("button", name="Log").click()
        expect(page.locator("#log-lines .error")).to_contain_text("no room")
        check("the log of a run")
        press("Close")
        press("Cancel")
        expect(page.locator("#confirm-title")).to_have_text(f"Cancel the run: retrain {RUNNING}")
        check("cancel a run")
        page.keyboard.press("Escape")
        press("Publish anyway")
        check("publish what was refused")
        page.keyboard.press("Escape")

        press("Roll back")
        page.get_by_label("Why").fill("boots are taken for sandals")
        check("roll back")
        press("Roll back now")
        expect(page.locator("#held-why")).to_contain_text("boots are taken for sandals")
        expect(page.locator("#toast")).to_have_css("opacity", "1")
        check("a hold, and what a roll-back says")
        press("Resume publishing")
        check("resume")
    assert {state: said for state, said in found.items() if said} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_where_nothing_is(browser: Browser, tmp_path: Path, scheme: str) -> None:
    """An empty store, and no Prefect: problems are said, and each part says that it is empty."""
    with (
        running(DirectoryStore(tmp_path / "store"), tmp_path / "cache") as console,
        opened(browser, console, scheme, 1280) as page,
    ):
        expect(page.locator("#problems")).to_contain_text("cannot be reached")
        expect(page.locator("#pictures .empty")).to_have_count(4)
        expect(page.locator("#size")).to_have_text("Nothing is stored yet.")
        assert not violations(page)
