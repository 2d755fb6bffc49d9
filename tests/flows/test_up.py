"""`make up` in a browser: press Retrain, watch it, find the new release live; roll back; stop cleanly."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.sync_api import Page, expect, sync_playwright

from lookalike.learning.recipes import described
from lookalike.storage import audit

from .conftest import ROOT, Shop, free_port, wait_until

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 180_000


@dataclass(frozen=True)
class Up:
    """Everything on this machine: addresses, the console's token, and the supervisor."""

    search: str
    console: str
    prefect: str
    token: str
    process: subprocess.Popen[bytes]
    shop: Shop

    def asked(self) -> dict[str, Any]:
        """What the search endpoint answers to a listing of the shop."""
        known = self.shop.catalogue.read_text().splitlines()[1].split(",")[0]
        request = urllib.request.Request(f"{self.search}/v1/search?listing_id={known}&k=5", method="POST")
        with urllib.request.urlopen(request, timeout=60) as reply:
            found: dict[str, Any] = json.loads(reply.read())
        return found

    def serves(self, index: str) -> bool:
        return index in json.dumps(self.asked())


@pytest.fixture
def up(environ: dict[str, str], shop: Shop, tmp_path: Path) -> Iterator[Up]:
    ports = [str(free_port()) for _ in range(3)]
    search, console, prefect = (f"http://127.0.0.1:{port}" for port in ports)
    options = ["--port", ports[0], "--console-port", ports[1], "--prefect-port", ports[2]]
    own = {
        "LOOKALIKE_STORE": shop.store.uri,
        "LOOKALIKE_CATALOGUE": str(shop.catalogue),
        "LOOKALIKE_CACHE_DIR": str(shop.cache),
    }
    said = tmp_path / "up.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.up", "--directory", str(tmp_path / "home"), *options],
            cwd=ROOT,
            env=environ | own,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until("make up", lambda: "Ctrl-C stops everything" in said.read_text(), process)
        text = said.read_text()
        assert all(address in text for address in (search, console, prefect))
        token = re.search(r"token: (\S+)", text)
        assert token is not None
        yield Up(search, console, prefect, token[1], process, shop)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(120)


@pytest.fixture
def page() -> Iterator[Page]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        yield page
        assert errors == []
        browser.close()


def test_retrain_watch_search_roll_back_and_stop(up: Up, page: Page) -> None:
    expect.set_options(timeout=PATIENCE_MS)
    first = up.shop.live()
    wait_until("search", lambda: up.serves(first.index.id), up.process)

    page.goto(up.console)
    expect(page.locator("#live")).to_contain_text(first.index.id[:8])
    page.get_by_role("button", name="Retrain").click()
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Token").fill(up.token)
    page.keyboard.press("Enter")
    page.locator("#field-recipe").select_option("tiny")
    expect(page.locator("label[for=field-recipe] .hint").last).to_have_text(described()["tiny"])
    page.locator("#field-margin").fill("1")
    page.get_by_text("More settings").click()
    page.locator("#field-min_category").fill("1")
    page.locator("#field-threads").fill("1")
    page.get_by_role("button", name="Start retraining").click()

    expect(page.locator(".run .title")).to_contain_text("retrain")
    expect(page.locator(".stage.running")).to_contain_text("train")  # the second stage: the first has gone by
    expect(page.locator(".stage.running .text")).to_contain_text(re.compile(r"\d+/\d+"))
    link = page.locator(".run .title a").get_attribute("href")
    assert link is not None
    assert link.startswith(f"{up.prefect}/runs/flow-run/")
    expect(page.locator("#recent")).to_contain_text("Completed")

    second = up.shop.live()
    assert (second.sequence, second.action) == (2, "publish")
    assert second.release != first.release
    assert second.by.startswith("Ada (flow run ")
    expect(page.locator("#live")).to_contain_text(second.release.id[:8])
    wait_until("search with the new release", lambda: up.serves(second.index.id), up.process)
    assert len(up.asked()["hits"]) == 5

    page.get_by_role("button", name="Roll back", exact=True).click()
    expect(page.locator("#confirm-text")).to_contain_text(
        f"{first.index.id} of model release {first.release.id}"
    )
    page.get_by_role("button", name="Roll back now").click()
    expect(page.locator("#live")).to_contain_text(first.release.id[:8])
    third = up.shop.live()
    assert (third.sequence, third.index, third.by) == (3, first.index, "Ada (console)")
    wait_until("search with the old release", lambda: up.serves(first.index.id), up.process)
    asked = [(r.by, r.action) for r in audit.recent(up.shop.store, 9) if r.outcome == audit.ASKED]
    assert asked == [("Ada", "rollback"), ("Ada", "retrain")]

    children = psutil.Process(up.process.pid).children(recursive=True)
    assert len(children) >= 4
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(120) == 0
    _, alive = psutil.wait_procs(children, timeout=60)
    assert alive == []
