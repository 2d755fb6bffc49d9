"""A real headless Chromium in front of a real search process."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from lookalike.serving.config import ServingConfig
from tests.serving.running import Running, running
from tests.shop import Shop, render

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(
    scope="package"
)  # Playwright keeps an event loop running, in which no later test could start one
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def process(shop: Shop) -> Iterator[Running]:
    config = ServingConfig(index=shop.index, notice_seconds=0)
    with running(shop.store, shop.cache_dir, config) as process:
        yield process


@pytest.fixture(scope="session")
def vase(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("query") / "vase.jpg"
    path.write_bytes(render("home/vase", 5, side=300))
    return path


@pytest.fixture
def page(browser: Browser, process: Running) -> Iterator[Page]:
    """The search page, open. A script error or a request to anywhere else fails the test."""
    base = str(process.client.base_url).rstrip("/")
    context = browser.new_context(viewport={"width": 1280, "height": 900}, base_url=base)
    page = context.new_page()
    page.set_default_timeout(10_000)
    errors: list[str] = []
    outside: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on(
        "request", lambda r: None if r.url.startswith((base, "blob:", "data:")) else outside.append(r.url)
    )
    page.goto("/")
    page.wait_for_selector(".card.example")
    yield page
    context.close()
    assert not errors
    assert not outside
